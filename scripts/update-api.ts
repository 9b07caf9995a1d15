/** Writes the public declarations to `api/`, where a change of them shows in the diff. */
import { rmSync, writeFileSync } from 'node:fs';
import { declarations, reviewedDeclarations } from './declarations.js';

const now = await declarations();
const folder = new URL('../api/', import.meta.url);
for (const name of reviewedDeclarations().keys()) rmSync(new URL(name, folder));
for (const [name, text] of now) writeFileSync(new URL(name, folder), text);
console.log(`${now.size} files in api/`);
