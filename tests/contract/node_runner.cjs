// Runs customerio-node for the tests: one JSON command a line comes in, one JSON result a line goes out.
//
// A command: {"client": "track"|"app", "options": {...}, "method": "identify", "args": [...]}
// A result:  {"ok": <what the promise gave>} or {"error": {"name", "message", "statusCode", "body"}}

const readline = require('node:readline');
const { TrackClient, APIClient } = require(process.argv[2]);

// JSON has no Date, and the client sends what JSON.stringify makes of one; it comes in as {"$date": seconds}.
const revive = (key, value) => (value && value.$date ? new Date(value.$date * 1000) : value);

const publicMethods = (type) =>
  Object.getOwnPropertyNames(type.prototype).filter((name) => name !== 'constructor' && !name.startsWith('_'));

const client = ({ client: kind, siteId, trackKey, appKey, url, options }) =>
  kind === 'track'
    ? new TrackClient(siteId, trackKey, { url: `${url}/api/v1`, ...options })
    : new APIClient(appKey, { url: `${url}/v1`, ...options });

const run = async (line) => {
  const command = JSON.parse(line, revive);
  if (command.list) {
    return { track: publicMethods(TrackClient), app: publicMethods(APIClient) };
  }
  return client(command)[command.method](...command.args);
};

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  let result;
  try {
    result = { ok: await run(line) };
  } catch (error) {
    const { name, message, statusCode, body } = error;
    result = { error: { name, message, statusCode, body } };
  }
  process.stdout.write(`${JSON.stringify(result)}\n`);
});
