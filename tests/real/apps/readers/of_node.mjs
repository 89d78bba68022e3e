// node's server, which reads with llhttp and is what terminals and notebooks in JavaScript are served by.
import http from "node:http";

let count = 0;
const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    count += 1;
    const body = Buffer.concat(parts).toString("latin1");
    const said = JSON.stringify({ count, method: request.method, target: request.url, body });
    response.setHeader("Content-Length", Buffer.byteLength(said));
    response.end(said);
  });
});
server.listen(Number(process.argv[2]), "127.0.0.1");
