// The handler of the benchmark behind bare node:http, nothing between.
import http from "node:http";

const handle = (inputs) => ({ x: inputs.x });

http
  .createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => (body += chunk));
    request.on("end", () => {
      const text = JSON.stringify(handle(JSON.parse(body)));
      response.writeHead(200, { "Content-Type": "application/json", "Content-Length": text.length });
      response.end(text);
    });
  })
  .listen(0, "127.0.0.1", function () {
    console.log(this.address().port);
  });
