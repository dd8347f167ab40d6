"use strict";globalThis.cnrmirror={pin:{"version":1,"sha256":"cf8d08b4da7affb1441e7d506963948a152477ac8d70cf1e9f2cf78c4e9bbc21"}};
