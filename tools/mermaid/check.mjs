// Runs Mermaid's own parser on every Mermaid diagram in the documents that the arguments name.

import { readFileSync } from 'node:fs';
import { JSDOM } from 'jsdom';

// Mermaid needs a browser's `document` to sanitize labels. Node.js has none, so jsdom provides one.
const { window } = new JSDOM('');
Object.assign(globalThis, { window, document: window.document });
const { default: mermaid } = await import('mermaid');

let diagrams = 0;
let failed = false;
for (const document of process.argv.slice(2)) {
    const text = readFileSync(document, 'utf8');
    for (const match of text.matchAll(/^```mermaid\n(.*?)^```$/gms)) {
        const line = text.slice(0, match.index).split('\n').length;
        diagrams += 1;
        try {
            const { diagramType } = await mermaid.parse(match[1]);
            console.log(`${document}:${line}: ${diagramType}`);
        } catch (error) {
            failed = true;
            console.error(`${document}:${line}: ${error.message}`);
        }
    }
}
if (diagrams === 0) {
    failed = true;
    console.error('The named documents contain no diagram.');
}
process.exitCode = failed ? 1 : 0;
