cnrmirror.search.r([["apps/blog","0.3.1",""],["apps/wordpress","4.8.0",""],["charts/nginx","1.2.0","A web server"]]);
