// Runs an exported function of a module in node: the argument comes as JSON and goes back as JSON.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [path, name] = process.argv.slice(2);
const module = await import(pathToFileURL(path).href);
const result = await module[name](JSON.parse(readFileSync(0, "utf8")));
process.stdout.write(JSON.stringify(result));
