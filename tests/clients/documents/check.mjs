// Holds the three documents against the validators that their specifications' authors publish.
//
//   node check.mjs MODULES FOLDER
//
// MODULES is where the packages are installed (see tests/run), FOLDER holds openrpc.json,
// asyncapi.json and openapi.json. Each is also spoilt once, to see that the validator would say so.

import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const [modules, folder] = process.argv.slice(2);
const require = createRequire(path.join(path.resolve(modules), 'check.js'));
const { validateOpenRPCDocument, parseOpenRPCDocument } = require('@open-rpc/schema-utils-js');
const { Parser } = require('@asyncapi/parser');
const SwaggerParser = require('@apidevtools/swagger-parser');

const checks = {
  async openrpc(document) {
    const verdict = validateOpenRPCDocument(document);
    if (verdict !== true) throw verdict;
    // Every reference leads somewhere.
    await parseOpenRPCDocument(document);
  },
  async asyncapi(document) {
    const { document: read, diagnostics } = await new Parser().parse(JSON.stringify(document));
    const wrong = diagnostics.filter((it) => it.severity <= 1);
    if (!read || wrong.length > 0) throw new Error(JSON.stringify(wrong, null, 1));
  },
  async openapi(document) {
    await SwaggerParser.validate(document);
  },
};

let failed = false;
for (const [name, check] of Object.entries(checks)) {
  const read = () => JSON.parse(fs.readFileSync(path.join(folder, `${name}.json`), 'utf8'));
  try {
    await check(read());
    console.log(`${name}: valid`);
  } catch (error) {
    console.error(`${name}: ${error.message}`);
    failed = true;
  }
  const spoilt = read();
  delete spoilt.info.version;
  try {
    await check(spoilt);
    console.error(`${name}: the validator takes a document without a version`);
    failed = true;
  } catch {
    console.log(`${name}: a spoilt one is refused`);
  }
}
process.exit(failed ? 1 : 0);
