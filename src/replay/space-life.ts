/**
 * Where the IOVA spaces of a log begin and end.
 */
import { measureHoles } from './holes.js';
import type { LogModel } from './log-format.js';
import { ReplaySpace } from './replay-space.js';

/** A new, empty space with a domain attached. @throws LogError if there are too many */
export async function beginSpace(name: string, model: LogModel): Promise<ReplaySpace> {
  model.room.addObject();
  return await ReplaySpace.create(name, model);
}

/** Measures a space, tells of its end, and ends it. */
export async function endSpace(space: ReplaySpace, { journal, room }: LogModel): Promise<void> {
  journal.ended(space, measureHoles(space.table.snapshot()));
  await space.close();
  room.removeObjects(1);
}
