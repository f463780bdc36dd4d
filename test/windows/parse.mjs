// Parses PowerShell files with tree-sitter's grammar and prints what it saw as one JSON object:
//   node parse.mjs MODULES FILE...     MODULES: the node_modules folder of package-lock.json
// Does not: judge; windows_test.py does.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, ...files] = process.argv.slice(2);
const { Parser, Language } = await import(pathToFileURL(join(modules, "web-tree-sitter/tree-sitter.js")));
await Parser.init();
const parser = new Parser();
parser.setLanguage(await Language.load(join(modules, "tree-sitter-powershell/tree-sitter-powershell.wasm")));

function* walk(node) {
  yield node;
  for (const child of node.children) yield* walk(child);
}

const seen = {};
for (const file of files) {
  const tree = parser.parse(readFileSync(file, "utf8"));
  const report = { errors: [], nodes: {}, functions: [], commands: [] };
  for (const node of walk(tree.rootNode)) {
    const line = node.startPosition.row + 1;
    report.nodes[node.type] = (report.nodes[node.type] ?? 0) + 1;
    if (node.isError || node.isMissing) {
      report.errors.push({ line, text: node.isMissing ? `missing ${node.type}` : node.text.slice(0, 80) });
    }
    if (node.type === "function_statement") {
      const name = node.children.find((child) => child.type === "function_name").text;
      const block = [...walk(node)].find((inner) => inner.type === "param_block");
      const parameters = (block ? [...walk(block)] : [])
        .filter((inner) => inner.type === "script_parameter")
        .map((parameter) => parameter.children.find((child) => child.type === "variable").text.slice(1));
      report.functions.push({ line, name, parameters, text: node.text });
    }
    if (node.type === "command_name") report.commands.push({ line, name: node.text });
  }
  seen[file] = report;
}
process.stdout.write(JSON.stringify(seen) + "\n");
