/** Both transports carry messages alike; one of them carries descriptors, too. */
import { describe, expect, test } from 'vitest';
import { headerOf } from '../../src/vfio-user/client-requests.js';
import { openDescriptors, settledDescriptors } from '../helpers/descriptors.js';
import { Heard, KINDS, LIMITS, native, transportPair } from './transports.js';

const bytes = (length: number, seed: number) =>
  Uint8Array.from({ length }, (_, at) => (at * 31 + seed) & 255);

describe.each(KINDS)('a transport %s', (kind) => {
  test('carries messages of all sizes in order', async () => {
    const [one, other] = await transportPair(kind);
    const heard = new Heard(other);
    new Heard(one);
    const sizes = [0, 1, 15, 16, 48, 4096, 16_368, 16_369, 65_536, 300_000, 2 ** 20, 3];
    for (const [id, size] of sizes.entries()) one.send([headerOf(id, 9, size, 0), bytes(size, id)]);
    await heard.until(() => heard.messages.length === sizes.length);
    for (const [id, size] of sizes.entries()) {
      const { header, payload } = heard.messages[id]!;
      expect(header).toMatchObject({ id, command: 9, size: size + 16, flags: 0, error: 0 });
      expect(Buffer.compare(payload, bytes(size, id))).toBe(0);
    }
    one.close();
    await heard.until(() => heard.closed !== undefined);
    expect(heard.closed).toEqual({ error: undefined });
  });

  test('keeps what the other side does not take, and says when it is gone', async () => {
    const [one, other] = await transportPair(kind);
    new Heard(one);
    for (let id = 0; id < 8; id++) one.send([headerOf(id, 9, 2 ** 20, 0), bytes(2 ** 20, id)]);
    expect(one.unsent).toBeGreaterThan(2 ** 22);
    const drained = new Promise<void>((resolve) => one.drained(resolve));
    const heard = new Heard(other);
    await heard.until(() => heard.messages.length === 8);
    await drained;
    expect(one.unsent).toBe(0);
    expect(heard.messages.map(({ payload }) => payload[1])).toEqual([31, 32, 33, 34, 35, 36, 37, 38]);
    one.close();
    other.close();
    one.send([headerOf(0, 9, 0, 0)]);
  });

  test('delivers nothing while it is paused', async () => {
    const [one, other] = await transportPair(kind);
    new Heard(one);
    const got: number[] = [];
    other.listen({
      message: ({ header }) => {
        got.push(header.id);
        other.pause();
      },
      closed: () => undefined,
    });
    for (let id = 0; id < 4; id++) one.send([headerOf(id, 9, 0, 0)]);
    for (let count = 1; count <= 4; count++) {
      while (got.length < count) await new Promise((resolve) => setImmediate(resolve));
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(got).toHaveLength(count);
      other.resume();
    }
    expect(got).toEqual([0, 1, 2, 3]);
    one.close();
    other.close();
  });

  test.each([
    ['shorter than a header', 15],
    ['longer than allowed', LIMITS.maxMessageSize + 1],
    ['as long as 32 bits can say', 2 ** 32 - 1],
  ])('closes a connection at a message %s', async (_, size) => {
    const [one, other] = await transportPair(kind);
    const heard = new Heard(other);
    const header = headerOf(0, 9, 0, 0);
    new DataView(header.buffer).setUint32(4, size, true);
    new Heard(one);
    one.send([header]);
    await heard.until(() => heard.closed !== undefined);
    expect(heard.closed?.error?.message).toContain(`${size} bytes`);
    one.close();
  });

  test.each([1, 15, 16, 40])('notices an end after %i bytes of a message', async (length) => {
    const [one, other] = await transportPair(kind);
    const heard = new Heard(other);
    new Heard(one);
    one.send([headerOf(0, 9, 100, 0).slice(0, length), bytes(Math.max(0, length - 16), 0)]);
    await new Promise<void>((resolve) => one.drained(resolve));
    one.close();
    await heard.until(() => heard.closed !== undefined);
    expect(heard.closed?.error?.message).toContain('within a message');
    expect(heard.messages).toEqual([]);
  });
});

describe('descriptors', () => {
  test('belong to the message with whose header they came', async () => {
    const before = openDescriptors();
    const [one, other] = await transportPair('with descriptors');
    const heard = new Heard(other);
    new Heard(one);
    const event = native.eventfd();
    one.send([headerOf(0, 2, 32, 0), bytes(32, 0)]);
    one.send([headerOf(1, 2, 32, 0), bytes(32, 0)], [event, event]);
    one.send([headerOf(2, 2, 0, 0)], [event]);
    one.send([headerOf(3, 2, 100_000, 0), bytes(100_000, 0)], [event]);
    one.send([headerOf(4, 2, 32, 0), bytes(32, 0)]);
    await heard.until(() => heard.messages.length === 5);
    expect(heard.messages.map(({ descriptors }) => descriptors.length)).toEqual([0, 2, 1, 1, 0]);
    for (const { descriptors } of heard.messages) {
      for (const each of descriptors) {
        native.signal(each);
        native.close(each);
      }
    }
    expect(native.takeCount(event)).toBe(4n);
    native.close(event);
    one.close();
    other.close();
    expect(await settledDescriptors(before)).toBe(before);
  });

  test('wait with their message', async () => {
    const before = openDescriptors();
    const [one, other] = await transportPair('with descriptors');
    new Heard(one);
    const event = native.eventfd();
    one.send([headerOf(0, 9, 2 ** 20, 0), bytes(2 ** 20, 1)]);
    one.send([headerOf(1, 9, 0, 0)], [event]);
    one.send([headerOf(2, 9, 0, 0)], [event]);
    native.close(event);
    const heard = new Heard(other);
    await heard.until(() => heard.messages.length === 3);
    expect(heard.messages.map(({ descriptors }) => descriptors.length)).toEqual([0, 1, 1]);
    for (const { descriptors } of heard.messages) for (const each of descriptors) native.close(each);
    one.close();
    other.close();
    expect(await settledDescriptors(before)).toBe(before);
  });

  test('do not stay open if nobody gets them', async () => {
    const before = openDescriptors();
    const [one, other] = await transportPair('with descriptors');
    new Heard(one);
    const event = native.eventfd();
    one.send([headerOf(0, 9, 2 ** 20, 0), bytes(2 ** 20, 1)]);
    one.send([headerOf(1, 9, 0, 0)], [event]);
    one.close();
    other.close();
    const [third, fourth] = await transportPair('with descriptors');
    const heard = new Heard(fourth);
    new Heard(third);
    third.send(
      [headerOf(0, 9, 4, 0).slice(0, 8)],
      Array.from({ length: 40 }, () => event),
    );
    third.send(
      [headerOf(0, 9, 4, 0).slice(8)],
      Array.from({ length: 40 }, () => event),
    );
    await heard.until(() => heard.closed !== undefined);
    expect(heard.closed?.error?.message).toContain('more than 60 descriptors');
    third.close();
    native.close(event);
    expect(await settledDescriptors(before)).toBe(before);
  });
});
