/**
 * What readers see in the middle: of a request of the owner's, after every single word that it writes; and when
 * requests are made in the middle of a translation, before every single word that it reads.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, test, vi } from 'vitest';
import { RadixDomain } from '../../src/domain/radix-domain.js';
import { RadixReader } from '../../src/domain/radix-reader.js';
import { IommuError } from '../../src/errors.js';

const PAGE = 4096n;
const MEGA = 2 ** 9;
const GIGA = 2 ** 18;
const FAR = 2 ** 37;
const PAST = 2 ** 52;

let onStore: () => void;
let onLoad: () => void;

/** Views of tables from now on call `onStore` after each word that is written, and `onLoad` before each that is read. */
beforeEach(() => {
  onStore = onLoad = () => undefined;
  const proxies = new WeakSet<object>();
  const watched = (words: Int32Array): Int32Array => {
    const proxy = new Proxy(words, {
      get(target, key) {
        if (typeof key === 'string' && /^\d/.test(key)) onLoad();
        return Reflect.get(target, key);
      },
      set(target, key, value) {
        Reflect.set(target, key, value);
        onStore();
        return true;
      },
    });
    proxies.add(proxy);
    return proxy;
  };
  const watchedInt32Array = new Proxy(Int32Array, {
    construct(target, parameters) {
      const words: Int32Array = Reflect.construct(target, parameters);
      return Reflect.get(words.buffer, 'growable') === true ? watched(words) : words;
    },
  });
  vi.stubGlobal('Int32Array', watchedInt32Array);
  // Atomic operations take no proxies.
  const { load, store } = Atomics;
  const atomics = new Proxy(Atomics, {
    get(target, key) {
      if (key === 'load') {
        return (words: Int32Array, at: number) => (proxies.has(words) ? words[at] : load(words, at));
      }
      if (key !== 'exchange' && key !== 'store') return Reflect.get(target, key);
      return (words: Int32Array, at: number, value: number) => {
        if (!proxies.has(words)) return store(words, at, value);
        const before = words[at];
        words[at] = value;
        return before;
      };
    },
  });
  vi.stubGlobal('Atomics', atomics);
});

afterEach(() => {
  vi.unstubAllGlobals();
});

interface Request {
  readonly map: boolean;
  readonly page: number;
  readonly count: number;
  readonly frame: number;
}

/** A frame with as many bits as a frame can have, at the same place in a large page as `page`. */
const frameFor = (page: number, base: number) => base * (2 ** 34 + 2 ** 20) + (page % GIGA);
const base = fc.integer({ min: 1, max: 7 });

const anyRequest: fc.Arbitrary<Request> = fc
  .record({
    map: fc.boolean(),
    corner: fc.constantFrom(0, MEGA, 2 * MEGA, GIGA, FAR, FAR + MEGA),
    by: fc.constantFrom(0, 0, 0, 1, 3, -1, -2),
    count: fc.constantFrom(1, 2, 3, 5, MEGA, MEGA + 1, 2 * MEGA, PAST),
    base,
  })
  .map(({ map, corner, by, count, base }) => {
    const page = Math.max(corner + by, 0);
    const pages = map ? Math.min(count, 2 * MEGA) : Math.min(count, PAST - page - 1);
    return { map, page, count: pages, frame: frameFor(page, base) };
  });

/** One of few pages, so that it is mapped again and again in a table that stays. */
const pageRequest: fc.Arbitrary<Request> = fc
  .record({ map: fc.boolean(), page: fc.nat(2), base })
  .map(({ map, page, base }) => ({ map, page, count: 1, frame: frameFor(page, base) }));

/** Where a walk that takes the root for one of the level below goes the way to `FAR`. */
const FAR_MISTAKEN = FAR / 2 ** 9;

/** Pages that requests do something about, or nearly. */
const probes = [0, MEGA, 2 * MEGA, GIGA, FAR_MISTAKEN, FAR, FAR + MEGA].flatMap((corner) =>
  [-2, -1, 0, 1, 2, 4].map((by) => corner + by).filter((page) => page >= 0),
);

class Scene {
  readonly domain = new RadixDomain({ shared: true });
  readonly reader = RadixReader.from(this.domain.share());

  /** What the owner, or a reader, says of a page. */
  look(who: RadixDomain | RadixReader, page: number): string {
    const found = who.translate(BigInt(page) * PAGE);
    return found === undefined ? 'nothing' : `${found.physical} ${found.protection}`;
  }

  lookAll(): string[] {
    return probes.map((page) => this.look(this.domain, page));
  }

  make({ map, page, count, frame }: Request): void {
    const iova = BigInt(page) * PAGE;
    const size = BigInt(count) * PAGE;
    try {
      if (map) this.domain.map(iova, BigInt(frame) * PAGE, size, 1 + (page % 3));
      else this.domain.unmap(iova, size);
    } catch (error) {
      if (!(error instanceof IommuError && error.code === 'EEXIST')) throw error;
    }
  }
}

const requests = fc.oneof(
  fc.array(anyRequest, { minLength: 1, maxLength: 12, size: 'max' }),
  fc.array(pageRequest, { minLength: 10, maxLength: 30, size: 'max' }),
  fc.array(fc.oneof(anyRequest, pageRequest), { minLength: 1, maxLength: 15, size: 'max' }),
);

describe('a reader', () => {
  test('sees a request entirely or not at all after each word that the owner writes', () => {
    fc.assert(
      fc.property(requests, (list) => {
        const scene = new Scene();
        for (const step of list) {
          const before = scene.lookAll();
          const seen: { readonly probe: number; readonly what: string }[] = [];
          let probe = 0;
          let inside = false;
          onStore = () => {
            if (inside) return;
            inside = true;
            // A few at a time, all of them in turn.
            for (let times = 0; times < 5; times++) {
              probe = (probe + 1) % probes.length;
              seen.push({ probe, what: scene.look(scene.reader, probes[probe]!) });
            }
            inside = false;
          };
          scene.make(step);
          onStore = () => undefined;
          const after = scene.lookAll();
          let changed = false;
          for (const { probe, what } of seen) {
            if (what !== before[probe]) changed = true;
            assert.equal(what, changed ? after[probe] : before[probe], `page ${probes[probe]}`);
          }
          const now = probes.map((page) => scene.look(scene.reader, page));
          assert.deepEqual(now, after);
        }
      }),
      { numRuns: 150 },
    );
  });

  test('gives what was true at some moment of its call when the owner is faster', () => {
    // How many words are read before the next request; 0: it is made at once.
    const schedule = fc.array(fc.oneof(fc.constant(0), fc.nat(12)), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(
        requests,
        schedule,
        fc.oneof(fc.nat(2), fc.constantFrom(...probes)),
        (list, pauses, page) => {
          const scene = new Scene();
          const todo = [...list];
          let next = 0;
          while (todo.length > 0) {
            const truths = [scene.look(scene.domain, page)];
            let pause = pauses[next++ % pauses.length]! + 1;
            let inside = false;
            onLoad = () => {
              if (inside) return;
              inside = true;
              for (pause--; pause <= 0 && todo.length > 0; pause = pauses[next++ % pauses.length]!) {
                scene.make(todo.shift()!);
                truths.push(scene.look(scene.domain, page));
              }
              inside = false;
            };
            const seen = scene.look(scene.reader, page);
            onLoad = () => undefined;
            assert.ok(truths.includes(seen), `${seen} is none of ${truths}`);
            if (truths.length === 1) scene.make(todo.shift()!);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('never puts the frame of two mappings together', () => {
    for (let pause = 1, done = false; !done; pause++) {
      const scene = new Scene();
      const [old, other] = [1, 5].map((base) => ({ map: true, page: 0, count: 1, frame: frameFor(0, base) }));
      scene.make(old!);
      scene.make({ ...old!, page: 1 });
      const truths = ['nothing', scene.look(scene.domain, 0)];
      let left = pause;
      onLoad = () => {
        if (--left !== 0) return;
        scene.make({ ...old!, map: false });
        scene.make(other!);
      };
      const seen = scene.look(scene.reader, 0);
      onLoad = () => undefined;
      // Until it was too late for this translation.
      done = left > 0;
      if (!done) truths.push(scene.look(scene.domain, 0));
      assert.ok(truths.includes(seen), `${seen} is none of ${truths}`);
    }
  });
});
