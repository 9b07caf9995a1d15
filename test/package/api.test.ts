/** A change of what programs can see of the library is one that somebody has looked at: `npm run api:update`. */
import { expect, test } from 'vitest';
import { declarations, reviewedDeclarations } from '../../scripts/declarations.js';

test('the public declarations are those in api/', async () => {
  const now = await declarations();
  const reviewed = reviewedDeclarations();
  expect([...now.keys()].sort()).toEqual([...reviewed.keys()]);
  for (const [name, text] of now) expect(text, `api/${name}`).toBe(reviewed.get(name));
});
