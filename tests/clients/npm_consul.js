// npm's consul against a daemon: node npm_consul.js PORT TOKEN. Says what it has seen, or fails.
"use strict";

const assert = require("node:assert");
const Consul = require("consul");

const [port, token] = process.argv.slice(2);
const client = new Consul({ host: "127.0.0.1", port: Number(port), defaults: { token } });
const stranger = new Consul({ host: "127.0.0.1", port: Number(port) });
let checks = 0;

function check(what, so) {
  assert.ok(so, what);
  checks += 1;
}

async function refused(what, status, attempt) {
  await assert.rejects(attempt, (error) => error.statusCode === status, what);
  checks += 1;
}

// Follows a name until this payload comes last; what came last is noted at each call of the handler.
function follow(name, end) {
  const calls = [];
  const watch = client.watch({
    method: client.event.list,
    options: { name, wait: "20s" },
    backoffFactor: 10,
  });
  const done = new Promise((resolve, reject) => {
    watch.on("change", (events) => {
      const last = events.at(-1);
      calls.push(last && Buffer.from(last.Payload, "base64").toString());
      if (calls.at(-1) === end) {
        watch.end();
        resolve(calls);
      }
    });
    watch.on("error", reject);
  });
  return { done, ready: new Promise((resolve) => setTimeout(resolve, 200)) };
}

async function main() {
  check("an empty list", (await client.event.list("js")).length === 0);
  const fired = await client.event.fire({ name: "js", payload: "one", node: "." });
  check("the fired event", fired.ID && fired.Name === "js" && fired.Payload === "one");
  const bytes = Buffer.from([0, 255, 13, 10]);
  const binary = await client.event.fire({ name: "js-binary", payload: bytes });
  check("bytes come back", bytes.equals(binary.Payload));
  const listed = await client.event.list("js");
  check("it is listed", listed.length === 1 && listed[0].ID === fired.ID);
  check("with its payload", listed[0].Payload === "one");
  check("a name is escaped", (await client.event.fire("js/a b")).Name === "js/a b");
  check("a stranger reads by the anonymous role", (await stranger.event.list("js")).length === 1);

  const { done, ready } = follow("js-watched", "49");
  await ready;
  for (let number = 0; number < 50; number += 1) {
    await client.event.fire("js-watched", String(number));
    // So that each is a change of its own.
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const calls = (await done).filter(Boolean);
  check("no handler runs twice for one event", new Set(calls).size === calls.length);
  check("the last one is seen", calls.at(-1) === "49");

  await refused("an underscore", 400, () => client.event.fire("_js"));
  await refused("a bad pattern", 500, () => client.event.fire({ name: "js", node: "(" }));
  await refused("too large", 413, () => client.event.fire("js", "x".repeat(65537)));
  await refused("a stranger", 403, () => stranger.event.fire("js"));
  const nobody = { host: "127.0.0.1", port: Number(port), defaults: { token: "nonsense" } };
  await refused("a bad token", 403, () => new Consul(nobody).event.list("js"));
  check("the agent", (await client.agent.self()).Config.NodeName.length > 0);
  console.log(`${checks} checks`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
