/** `iopt map` and `iopt explain`. */
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { run } from './fake-terminal.js';

const logs = (name: string) => fileURLToPath(new URL(`../logs/${name}`, import.meta.url));
const BUG_REPORT = logs('bug-report.log');
const THREE_FAULTS = logs('iommufd-three-faults.log');
const VIRTIO_IOMMU = logs('virtio-iommu-disk.log.gz');
const TRACE = fileURLToPath(new URL('../traces/rfc-reported-bug.jsonl', import.meta.url));

const two = [
  'vfio_dma_map(0x1, 0x1000, 0x2000, 0x1000) = 0',
  'vfio_dma_map(0x12, 0x5000, 0x1000, 0x1000) = 0',
  '',
].join('\n');

describe('iopt map', () => {
  test('draws the spaces as the log leaves them', async () => {
    const { status, out } = await run(['map', BUG_REPORT]);
    expect(status).toBe(0);
    expect(out).toMatch(/^container 0x55b99d7b7d40\n\nIOVA space, profile linux-7.3: 1 area/);
    expect(out).toMatch(/0xfffc0000 {10}0xffffffff {2}\|AAAA\| +256 KiB/);
    const rfc = await run(['map', '--profile', 'rfc-v1', BUG_REPORT]);
    expect(rfc.out).toMatch(/0xfffff000 {10}0xffffffff {2}\|AAAA\| +4 KiB/);
  });

  test('or as they were at a line, in so many rows', async () => {
    const { out } = await run(['map', '--until', '3000', '--rows', '5', VIRTIO_IOMMU]);
    expect(out).toContain('36 areas');
    expect(out).toContain('reserved by Endpoint 32');
    const rows = out.split('\n').filter((line) => /0x[0-9a-f]+ +0x/.test(line) && line.startsWith('  '));
    expect(rows.length).toBeLessThanOrEqual(5);
  });

  test('draws those of a conformance trace, too', async () => {
    const { status, out } = await run(['map', '--until', '3', TRACE]);
    expect(status).toBe(0);
    expect(out).toMatch(/^ioas0\n\nIOVA space, profile rfc-v1: 1 area/);
    expect(out).toMatch(/0xfffff000 +0xffffffff +\|AAAA\| +4 KiB/);
  });

  test('all of them, or one', async () => {
    const both = await run(['map'], { input: two });
    expect(both.out.match(/^container 0x/gm)).toHaveLength(2);
    const one = await run(['map', '--space', 'container 0x1'], { input: two });
    expect(one.out.match(/^container 0x.*$/gm)).toEqual(['container 0x1']);
    expect(await run(['map', '--space', 'container', '-'], { input: two })).toMatchObject({
      status: 2,
      err: expect.stringContaining('names several spaces; there are: container 0x1, container 0x12'),
    });
    expect((await run(['map', '--space', 'ioas', '-'], { input: two })).err).toContain('names no space');
  });

  test('as JSON', async () => {
    const { out } = await run(['map', '--json'], { input: two });
    expect(JSON.parse(out).spaces).toMatchObject([
      { name: 'container 0x1', snapshot: { areas: [{ iova: '0x1000', last: '0x2fff' }] } },
      { name: 'container 0x12', snapshot: { areas: [{ iova: '0x5000' }] } },
    ]);
  });

  test.each([
    [['map', 'a', 'b'], /takes one log/],
    [['map'], /no log to draw/],
    [['map', 'missing.log'], /cannot read missing.log/],
    [['map', '--rows', '2', BUG_REPORT], /--rows is a whole number of at least 3/],
  ])('%j is wrong usage', async (args, message) => {
    const { status, err } = await run(args);
    expect([status, err]).toEqual([2, expect.stringMatching(message)]);
  });

  test('of a log without a space', async () => {
    expect(await run(['map'], { input: 'noise\n' })).toMatchObject({
      status: 2,
      err: expect.stringContaining('- leaves no IOVA space'),
    });
  });
});

describe('iopt explain', () => {
  const explain = (...args: string[]) => run(['explain', '--log', THREE_FAULTS, '--until', '18', ...args]);

  test('says of a call whether it would succeed', async () => {
    expect(await explain('unmap', '0xc0000', '56K')).toEqual({
      status: 0,
      out: 'ioas 2 of iommufd 19: unmap [0xc0000, 0xcdfff] would succeed and remove 0xe000 bytes.\n',
      err: '',
    });
    expect((await explain('map', 'auto', '2M')).out).toMatch(
      /map 0x200000 bytes at a chosen IOVA from user 0x7f0000000000 \(rw\) would succeed at IOVA 0x80000000 and pin/,
    );
    expect((await explain('access', '0x100000', '4K')).status).toBe(0);
    expect((await explain('copy', '0x100000', '4K', 'auto', 'r')).out).toContain('would succeed at IOVA');
    expect((await explain('domain')).status).toBe(0);
  });

  test('and if not, why not and what would', async () => {
    const { status, out } = await explain('unmap', '0xcd000', '0x3000');
    expect(status).toBe(1);
    expect(out).toContain('would fail with ENOENT: area [0xc0000, 0xcdfff]');
    expect(out).toContain(
      'Instead: unmap [0xc0000, 0xebfff], the whole of what the range touches (2 areas); or',
    );
    expect((await explain('map', '0x100000', '4K', '0x1000', 'r')).out).toContain('fail with EEXIST');
    expect((await explain('access', '0xf0000', '4K', 'rw')).out).toContain("it is mapped 'r'");
    expect((await explain('domain', '4K,2M', '0', '0xffffffff')).out).toContain('fail with EADDRINUSE');
    expect((await explain('copy', '0x100000', '4K', '0x0')).out).toContain('fail with EEXIST');
    expect((await explain('--memlock', '1M', 'map', 'auto', '4K')).out).toContain('would succeed');
  });

  test('says of a line of the log what its call meets there', async () => {
    const on = (line: string, ...args: string[]) =>
      run(['explain', '--log', THREE_FAULTS, '--line', line, ...args]);
    expect(await on('26')).toMatchObject({
      status: 1,
      out: expect.stringMatching(
        /^ioas 2 of iommufd 19: map \[0x17ffff000, 0x180000fff\] .* EEXIST.*Instead: use IOVA/,
      ),
    });
    expect(await on('23')).toMatchObject({ status: 0, out: expect.stringContaining('remove 0x40000 bytes') });
    expect(await on('1')).toMatchObject({ status: 2, err: expect.stringContaining('line 1 of') });
    expect(await on('9999')).toMatchObject({ status: 2 });
    expect(await on('26', 'map')).toMatchObject({ status: 2, err: expect.stringContaining('--line takes') });
    // Both lines of a call that was printed before and after it was made.
    const unmap = /unmap \[0xff000000, 0xffffffff\] would fail with ENOENT/;
    for (const line of ['2', '4']) {
      const rfc = ['explain', '--profile', 'rfc-v1', '--log', BUG_REPORT, '--line', line];
      expect(await run(rfc)).toMatchObject({ status: 1, out: expect.stringMatching(unmap) });
    }
    const viommu = ['explain', '--log', VIRTIO_IOMMU, '--line', '66'];
    expect(await run(viommu)).toMatchObject({
      status: 0,
      out: expect.stringMatching(/^domain 0: (map|unmap)/),
    });
  });

  test('says it of conformance traces, too', async () => {
    const on = (...args: string[]) => run(['explain', '--log', TRACE, ...args]);
    expect(await on('--line', '4')).toMatchObject({
      status: 1,
      out: expect.stringMatching(
        /^ioas0: unmap \[0xff000000, 0xffffffff\] would fail with ENOENT: .* not exactly/,
      ),
    });
    expect(await on('--line', '1')).toMatchObject({ status: 2 });
    // The memory of a trace is where its header says.
    expect(await on('--until', '4', 'map', '0x5000', '4K')).toMatchObject({
      status: 0,
      out: expect.stringContaining('from user 0x1000000000 (rw) would succeed'),
    });
  });

  test('asks the space used last, or the one named', async () => {
    const unmap = ['unmap', '0x1000', '0x2000'];
    const last = await run(['explain', '--log', '-', ...unmap], { input: two });
    expect(last.out).toMatch(/^container 0x12: .*nothing is mapped there/);
    const named = await run(['explain', '--log', '-', '--space', 'container 0x1', ...unmap], { input: two });
    expect(named.out).toMatch(/^container 0x1: .*remove 0x2000 bytes/);
  });

  test('as JSON', async () => {
    const { status, out } = await explain('--json', 'unmap', '0xcd000', '0x3000');
    expect(status).toBe(1);
    expect(JSON.parse(out)).toMatchObject({
      space: 'ioas 2 of iommufd 19',
      ok: false,
      code: 'ENOENT',
      errno: -2,
      reason: { check: 'partial-area', area: { iova: '0xc0000' } },
      alternatives: [{ steps: [{ call: 'unmap', iova: '0xc0000', length: '0x2c000' }] }, {}],
    });
  });

  test.each([
    [['explain', 'map', '0', '1'], /needs --log/],
    [['explain', '--log', BUG_REPORT], /takes --line, or a call/],
    [['explain', '--log', BUG_REPORT, 'move'], /not move/],
    [['explain', '--log', BUG_REPORT, 'map', '0x1000'], /the form is: map IOVA\|auto LENGTH/],
    [['explain', '--log', BUG_REPORT, 'unmap', '0x1000', '1', '2'], /the form is: unmap IOVA LENGTH/],
    [
      ['explain', '--log', BUG_REPORT, 'unmap', 'here', '1'],
      /IOVA is a number such as 0x1000 or 4K, not here/,
    ],
    [['explain', '--log', BUG_REPORT, 'unmap', '99999999999999999999', '1'], /IOVA is below 2\^64/],
    [['explain', '--log', BUG_REPORT, 'unmap', '16777216T', '1'], /IOVA is below 2\^64/],
    [['explain', '--log', BUG_REPORT, 'map', '0', '4K', '0', 'x'], /PROT is r, w or rw, not x/],
    [['explain', '--log', BUG_REPORT, 'domain', '5'], /pageSizes/],
    [['explain', '--log', BUG_REPORT, 'domain', '4K', '0'], /FIRST without LAST/],
    [['explain', '--log', BUG_REPORT, '--line', 'x'], /--line is a whole number/],
    [['explain', '--log', TRACE, '--profile', 'linux-6.12', 'unmap', '0', '1'], /was recorded under rfc-v1/],
  ])('%j is wrong usage', async (args, message) => {
    const { status, err } = await run(args);
    expect([status, err]).toEqual([2, expect.stringMatching(message)]);
  });
});
