// An Express application that knows nothing of peep, and three of its users.
const { NodeSDK } = require("@opentelemetry/sdk-node");
const { HttpInstrumentation } = require("@opentelemetry/instrumentation-http");
const { ExpressInstrumentation } = require("@opentelemetry/instrumentation-express");

// Everything else comes from OTEL_* variables.
const sdk = new NodeSDK({ instrumentations: [new HttpInstrumentation(), new ExpressInstrumentation()] });
sdk.start();

const express = require("express");
const app = express();
app.get("/users/:id", (request, response) => response.json({ user: request.params.id }));
app.get("/boom", () => {
  throw new Error("boom");
});
app.use((_error, _request, response, _next) => response.status(500).end());

const server = app.listen(0, "127.0.0.1", async () => {
  const origin = `http://127.0.0.1:${server.address().port}`;
  for (const path of ["/users/1", "/users/2", "/users/3", "/boom", "/nowhere"]) await (await fetch(origin + path)).text();
  server.close();
  await sdk.shutdown();
});
