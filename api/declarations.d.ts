import { EventEmitter } from "node:events";
declare class FrameRuns {
    #private;
    get runs(): number;
    get frames(): number;
    pfnOf(run: number): number;
    countOf(run: number): number;
    push(pfn: number, count: number): void;
    reserve(runs: number): void;
    append(other: FrameRuns): void;
    at(position: number): number;
    slice(from: number, count: number): FrameRuns;
    forEachRun(from: number, count: number, visit: (pfn: number, count: number, position: number) => void): void;
    truncate(frames: number): void;
}
interface Abortable {
    readonly signal?: AbortSignal | undefined;
}
interface IommuDomain {
    readonly pageSizeBitmap: bigint;
    readonly aperture: {
        readonly start: bigint;
        readonly last: bigint;
    };
    map(iova: bigint, physical: bigint, size: bigint, protection: number): void;
    unmap(iova: bigint, size: bigint): void;
    flush?(): PromiseLike<void> | void;
    hide?(start: bigint, last: bigint): (() => void) | undefined;
    iovaToPhys(iova: bigint): bigint | undefined;
    translate?(iova: bigint): Translation | undefined;
    readonly mappedBytes?: bigint;
    readonly dirty?: DirtyOperations;
    readonly pages?: PageOperations;
}
interface Translation {
    readonly physical: bigint;
    readonly protection: number;
    readonly length: bigint;
}
interface PageOperations {
    map(iovaPage: number, frames: FrameRuns, from: number, count: number, protection: number): void;
    unmap(iovaPage: number, count: number): void;
    frames(iovaPage: number, count: number, into: FrameRuns): void;
}
interface DirtyOperations {
    readonly tracking: boolean;
    setTracking(enable: boolean): void;
    mark(iova: bigint, size: bigint): void;
    readAndClear(iova: bigint, size: bigint, keep: boolean, report: ((iova: bigint, size: bigint) => void) | undefined): void;
}
interface Address {
    readonly page: number;
    readonly offset: number;
}
interface Interval extends Address {
    readonly lastPage: number;
    readonly lastOffset: number;
}
type U64Input = bigint | number;
declare const ERRNO: Readonly<{
    readonly EPERM: 1;
    readonly ENOENT: 2;
    readonly EINTR: 4;
    readonly EIO: 5;
    readonly ENXIO: 6;
    readonly E2BIG: 7;
    readonly EBADF: 9;
    readonly EAGAIN: 11;
    readonly ENOMEM: 12;
    readonly EACCES: 13;
    readonly EFAULT: 14;
    readonly EBUSY: 16;
    readonly EEXIST: 17;
    readonly ENODEV: 19;
    readonly EINVAL: 22;
    readonly EMFILE: 24;
    readonly ENOTTY: 25;
    readonly ENOSPC: 28;
    readonly EPIPE: 32;
    readonly ERANGE: 34;
    readonly EDEADLOCK: 35;
    readonly EBADE: 52;
    readonly EOVERFLOW: 75;
    readonly EBADFD: 77;
    readonly EMSGSIZE: 90;
    readonly EOPNOTSUPP: 95;
    readonly EADDRINUSE: 98;
    readonly ECONNRESET: 104;
    readonly ETIMEDOUT: 110;
    readonly ECONNREFUSED: 111;
    readonly ECANCELED: 125;
}>;
type ErrorCode = keyof typeof ERRNO;
interface AreaInTheWay {
    readonly iova: string;
    readonly last: string;
    readonly uptr?: string;
}
type ErrorReason = {
    readonly check: "overlap" | "partial-area" | "not-exact" | "area-in-use" | "area-busy";
    readonly area: AreaInTheWay;
} | {
    readonly check: "reserved";
    readonly range: string;
    readonly owner: string;
} | {
    readonly check: "allowed";
    readonly range: string;
} | {
    readonly check: "alignment";
    readonly what: string;
    readonly value: string;
    readonly alignment: number;
    readonly area?: AreaInTheWay;
} | {
    readonly check: "not-mapped";
    readonly iova: string;
} | {
    readonly check: "permission";
    readonly wanted: "read" | "write";
    readonly detail: string;
    readonly area?: AreaInTheWay;
} | {
    readonly check: "memory";
    readonly uptr: string;
    readonly detail: string;
} | {
    readonly check: "locked-memory";
    readonly of: "user" | "process";
    readonly limitBytes: bigint;
    readonly lockedBytes: bigint;
    readonly neededBytes: bigint;
} | {
    readonly check: "no-space";
    readonly alignment: string;
} | {
    readonly check: "object";
    readonly id: string;
    readonly detail: string;
} | {
    readonly check: "argument" | "state" | "overflow" | "domain" | "fault" | "unsupported" | "would-wait";
    readonly detail: string;
};
declare class IommuError extends Error {
    #private;
    readonly name = "IommuError";
    readonly code: ErrorCode;
    readonly errno: number;
    readonly reason: ErrorReason;
    syscall: string | undefined;
    range: string | undefined;
    unmapped: bigint | undefined;
    constructor(code: ErrorCode, reason: ErrorReason);
    advice(): Promise<string>;
}
type Profile = "linux-7.3" | "linux-6.12" | "rfc-v1";
type ProfileName = Profile | "linux";
type Release = `${number}.${number}`;
declare const PROFILES: readonly Profile[];
declare class IovaSpace {
    get profile(): Profile;
    get alignment(): number;
    get largePages(): boolean;
    get domains(): readonly IommuDomain[];
    get areaCount(): number;
}
declare const ERRORS: {
    readonly "object-lookup": "ENOENT";
    readonly object: "ENOMEM";
    readonly response: "EFAULT";
    readonly pages: "ENOMEM";
    readonly area: "ENOMEM";
    readonly "copy-part": "ENOMEM";
    readonly placement: "EPERM";
    readonly batch: "ENOMEM";
    readonly pin: "EFAULT";
    readonly "short-pin": undefined;
    readonly process: "EFAULT";
    readonly "process-account": "EINVAL";
    readonly charge: "ENOMEM";
    readonly "domain-map": "ENOENT";
    readonly "domain-map-page": "ENOENT";
    readonly "pinned-store": "EINVAL";
    readonly "pages-access": "ENOMEM";
    readonly reservation: "ENOMEM";
    readonly "domain-slot": "ENOMEM";
    readonly "device-regions": "EINVAL";
    readonly "access-slot": "ENOMEM";
    readonly notification: undefined;
    readonly "allowed-range": "ENOMEM";
    readonly split: "ENOMEM";
    readonly "page-transfer": "EINVAL";
    readonly "dirty-bitmap": "ENOMEM";
};
type FaultPoint = keyof typeof ERRORS;
declare const FAULT_ERRORS: Readonly<Record<FaultPoint, ErrorCode | undefined>>;
interface FaultInjector {
    fails(point: FaultPoint): boolean;
}
interface TreeNode<V> extends Interval {
    readonly value: V;
}
interface IntervalTree<V> {
    readonly size: number;
    insert(range: Interval, value: V): TreeNode<V>;
    insertDisjoint(range: Interval, value: V): TreeNode<V>;
    delete(node: TreeNode<V>): void;
    has(node: TreeNode<V>): boolean;
    first(range: Interval): TreeNode<V> | undefined;
    nextIn(node: TreeNode<V>, range: Interval): TreeNode<V> | undefined;
    head(): TreeNode<V> | undefined;
    next(node: TreeNode<V>): TreeNode<V> | undefined;
    firstHole(window: Interval, needed: number): Interval | undefined;
    clear(): void;
    [Symbol.iterator](): IterableIterator<V>;
    verify(): void;
}
declare const IntervalTree: new <V>() => IntervalTree<V>;
interface LockWait extends Promise<unknown> {
    cancel(): void;
}
declare class RwLock {
    #private;
    get free(): boolean;
    get writing(): boolean;
    get writes(): number;
    tryRead(): boolean;
    tryWrite(): boolean;
    read(): LockWait;
    write(): LockWait;
    releaseRead(): void;
    releaseWrite(): void;
}
declare class LockedMemory {
    limitPages: number;
    readonly of: "user" | "process";
    constructor(of: "user" | "process", limitPages: number, { sharing }?: {
        readonly sharing?: LockedMemory;
    });
    get lockedPages(): number;
    set lockedPages(pages: number);
    withLimit(limitPages: number): LockedMemory;
    tryCharge(pages: number): boolean;
    credit(pages: number): void;
}
type AccountingMode = "none" | "user" | "mm";
interface DmaBuf {
    readonly pfn: number;
    readonly size: bigint;
    readonly revoked: boolean;
    readonly invalidations: number;
    onInvalidate(listener: () => void | PromiseLike<void>): () => void;
}
interface MemoryLayout {
    readonly current: boolean;
}
interface MemoryPiece {
    readonly length: number;
    read(first: number, target: Uint8Array, at: number, length: number): void;
    write(first: number, source: Uint8Array, at: number, length: number): void;
}
interface MemoryWindow {
    readonly page: number;
    readonly lastPage: number;
    readonly writable: boolean;
    readonly piece: MemoryPiece;
    readonly start: number;
    readonly layout: MemoryLayout;
}
interface PinRecord {
    readonly pinned: number;
    pins(pfn: number): number;
}
interface PinHolder {
    unpin(pfn: number, count: number, dirty: boolean): void;
    unpinAll?(frames: FrameRuns, dirty: boolean): void;
    frames?(pfn: number, count: number): Uint8Array | undefined;
    copyFromFrames?(pfn: number, offset: number, target: Uint8Array, targetOffset: number, length: number): number | Promise<number>;
    copyToFrames?(pfn: number, offset: number, source: Uint8Array, sourceOffset: number, length: number): number | Promise<number>;
    readonly pinRecord?: PinRecord | undefined;
}
interface UserMemory extends PinHolder {
    pin(page: number, count: number, write: boolean, into: FrameRuns): number | Promise<number>;
    copyFromUser(page: number, offset: number, target: Uint8Array, targetOffset: number, length: number): number | Promise<number>;
    copyToUser(page: number, offset: number, source: Uint8Array, sourceOffset: number, length: number): number | Promise<number>;
    resident?(page: number, count: number, write: boolean): boolean;
    window?(page: number): MemoryWindow | undefined;
    readonly exited?: boolean;
    readonly locked?: {
        readonly user: LockedMemory;
        readonly mm: LockedMemory;
    } | undefined;
}
type FrameMemory = Pick<UserMemory, "frames" | "copyFromFrames" | "copyToFrames">;
interface UserFile extends PinHolder {
    pin(page: number, count: number, into: FrameRuns): number | Promise<number>;
    resident?(page: number, count: number): boolean;
}
interface MappedArea$1 extends Interval {
    readonly index: number;
    readonly lastIndex: number;
    readonly pageOffset: number;
    readonly prot: number;
    storageDomain: IommuDomain | undefined;
}
type DomainsTree = SoleArea | IntervalTree<MappedArea$1>;
declare class SoleArea implements TreeNode<MappedArea$1> {
    readonly page: number;
    readonly offset: number;
    readonly lastPage: number;
    readonly lastOffset: number;
    readonly value: MappedArea$1;
    constructor(range: Interval, area: MappedArea$1);
    get size(): number;
    first(range: Interval): TreeNode<MappedArea$1> | undefined;
    nextIn(): undefined;
    head(): TreeNode<MappedArea$1>;
    next(): undefined;
    verify(): void;
}
declare class PinnedStore {
    #private;
    get empty(): boolean;
    insert(first: number, frames: FrameRuns): void;
    read(first: number, last: number, into: FrameRuns): void;
    erase(first: number, last: number): FrameRuns;
    verify(): void;
    segments(): Generator<{
        readonly first: number;
        readonly frames: FrameRuns;
    }>;
}
interface PagesAccess {
    users: number;
}
interface PagesFile {
    readonly file: UserFile;
    readonly owner: UserMemory | undefined;
}
declare class IoptPages {
    readonly memory: UserMemory | undefined;
    readonly firstPage: number;
    readonly npages: number;
    readonly writable: boolean;
    readonly mode: AccountingMode;
    account: LockedMemory | undefined;
    faults?: FaultInjector;
    file?: PagesFile;
    readonly mutex: RwLock;
    references: number;
    npinned: number;
    lastNpinned: number;
    store: PinnedStore | undefined;
    accessTree: IntervalTree<PagesAccess> | undefined;
    domainsTree: DomainsTree | undefined;
    constructor(memory: UserMemory | undefined, firstPage: number, npages: number, writable: boolean, mode: AccountingMode);
    get uptr(): bigint | undefined;
    get fileOffset(): bigint | undefined;
    get length(): bigint;
    get owner(): UserMemory | undefined;
    showFile(file: UserFile, owner: UserMemory | undefined): void;
    addressOf(index: number, offset: number): Address;
}
type Protection = "" | "r" | "w" | "rw";
declare class IoptArea implements MappedArea$1 {
    readonly page: number;
    readonly offset: number;
    readonly lastPage: number;
    readonly lastOffset: number;
    readonly index: number;
    readonly lastIndex: number;
    readonly pageOffset: number;
    readonly prot: number;
    pages: IoptPages | undefined;
    storageDomain: IommuDomain | undefined;
    pins: number;
    locks: number;
    preventAccess: boolean;
    get iova(): bigint;
    get lastIova(): bigint;
    get length(): bigint;
    get protection(): Protection;
    get uptr(): bigint | undefined;
    get fileOffset(): bigint | undefined;
}
interface UnmapNotice {
    readonly iova: bigint;
    readonly length: bigint;
}
interface TransferOptions extends Abortable {
    readonly slow?: boolean;
    readonly caller?: UserMemory;
    readonly kernelThread?: boolean;
}
interface IoptAccessOptions {
    readonly needsPin: boolean;
    readonly onUnmap?: ((area: UnmapNotice) => void | PromiseLike<void>) | undefined;
}
interface PinOptions extends Abortable {
    readonly write?: boolean;
}
declare class IoptAccess {
    #private;
    readonly needsPin: boolean;
    readonly iovaAlignment: number;
    constructor(options: IoptAccessOptions);
    get table(): IovaSpace | undefined;
    attach(table: IovaSpace, options?: Abortable): Promise<void>;
    replace(table: IovaSpace, options?: Abortable): Promise<void>;
    detach(options?: Abortable): Promise<void>;
    pin(iova: U64Input, length: U64Input, options?: PinOptions): Promise<FrameRuns>;
    pinSync(iova: U64Input, length: U64Input, options?: {
        readonly write?: boolean;
    }): FrameRuns;
    unpin(iova: U64Input, length: U64Input, options?: Abortable): Promise<void>;
    unpinSync(iova: U64Input, length: U64Input): void;
    read(iova: U64Input, target: Uint8Array, options?: TransferOptions): Promise<void>;
    write(iova: U64Input, source: Uint8Array, options?: TransferOptions): Promise<void>;
    readSync(iova: U64Input, target: Uint8Array, options?: TransferOptions): void;
    writeSync(iova: U64Input, source: Uint8Array, options?: TransferOptions): void;
}
interface PinnedRangeOptions extends Abortable {
    readonly write?: boolean;
    readonly onUnmap?: (area: UnmapNotice, pinned: PinnedRange) => void | PromiseLike<void>;
}
declare class PinnedRange implements Disposable {
    #private;
    readonly iova: bigint;
    readonly length: bigint;
    get released(): boolean;
    get pages(): readonly Uint8Array[];
    release(options?: Abortable): Promise<void>;
    [Symbol.dispose](): void;
}
interface IovaRange {
    readonly start: U64Input;
    readonly last: U64Input;
}
interface DeviceDomain extends Pick<IommuDomain, "pageSizeBitmap" | "iovaToPhys" | "translate"> {
    readonly dirty?: Pick<DirtyOperations, "mark">;
}
type DeviceMemory = FrameMemory;
declare class DmaFault extends IommuError {
    readonly iova: bigint;
    readonly copied: number;
    constructor(reason: ErrorReason, iova: bigint, copied: number);
}
declare function deviceRead(domain: DeviceDomain, memory: DeviceMemory, iova: U64Input, target: Uint8Array): void;
declare function deviceWrite(domain: DeviceDomain, memory: DeviceMemory, iova: U64Input, source: Uint8Array): void;
interface RadixHandle {
    readonly tables: SharedArrayBuffer;
    readonly control: SharedArrayBuffer;
    readonly ticket: SharedArrayBuffer;
    readonly id: number;
    readonly pageSizeBitmap: bigint;
}
interface RadixDomainOptions {
    readonly pageSizes?: Iterable<U64Input> | undefined;
    readonly contiguous?: boolean | undefined;
    readonly aperture?: {
        readonly start: U64Input;
        readonly last: U64Input;
    } | undefined;
    readonly dirty?: boolean | undefined;
    readonly shared?: boolean | undefined;
}
interface RadixPage {
    readonly iova: bigint;
    readonly size: bigint;
    readonly physical: bigint;
    readonly dirty: boolean;
}
declare class RadixDomain implements IommuDomain {
    #private;
    readonly pageSizeBitmap: bigint;
    readonly aperture: {
        readonly start: bigint;
        readonly last: bigint;
    };
    readonly pages?: PageOperations;
    readonly dirty?: DirtyOperations;
    readonly flush?: () => PromiseLike<void> | undefined;
    readonly hide?: (start: bigint, last: bigint) => (() => void) | undefined;
    constructor(options?: RadixDomainOptions);
    get mappedBytes(): bigint;
    get tables(): number;
    get tableBytes(): number;
    map(iova: U64Input, physical: U64Input, size: U64Input, protection: number): void;
    unmap(iova: U64Input, size: U64Input): void;
    iovaToPhys(iova: bigint): bigint | undefined;
    iovaToPhys(iova: number): number | undefined;
    translate(iova: U64Input): Translation | undefined;
    pageAt(iova: U64Input): RadixPage | undefined;
    share(): RadixHandle;
    unshare(handle: RadixHandle): void;
    quiesce(): Promise<void>;
}
declare class RadixReader {
    #private;
    readonly pageSizeBitmap: bigint;
    static from(handle: RadixHandle): RadixReader;
    private constructor();
    iovaToPhys(iova: bigint): bigint | undefined;
    iovaToPhys(iova: number): number | undefined;
    translate(iova: U64Input): Translation | undefined;
    read(iova: U64Input, target: Uint8Array, memory: DeviceMemory): void;
    write(iova: U64Input, source: Uint8Array, memory: DeviceMemory): void;
    readonly dirty: {
        mark: (iova: U64Input, size: U64Input) => void;
    };
    quiescent(): void;
    close(): void;
    [Symbol.dispose](): void;
}
type PlannedCall = {
    readonly call: "map";
    readonly iova?: bigint;
    readonly uptr: bigint;
    readonly length: bigint;
    readonly prot: Protection;
} | {
    readonly call: "copy";
    readonly srcIova: bigint;
    readonly iova?: bigint;
    readonly length: bigint;
    readonly prot: Protection;
} | {
    readonly call: "unmap";
    readonly iova: bigint;
    readonly length: bigint;
} | {
    readonly call: "access";
    readonly iova: bigint;
    readonly length: bigint;
    readonly write: boolean;
} | {
    readonly call: "addDomain";
};
type AlternativeStep = PlannedCall | {
    readonly call: "cutIova";
    readonly addresses: readonly bigint[];
} | {
    readonly call: "setAllowedIova";
    readonly ranges: readonly {
        readonly start: bigint;
        readonly last: bigint;
    }[];
} | {
    readonly call: "raise-locked-limit";
    readonly of: "user" | "process";
    readonly limitBytes: bigint;
    readonly missingBytes: bigint;
} | {
    readonly call: "provide-memory";
    readonly uptr: bigint;
    readonly length: bigint;
    readonly writable: boolean;
};
interface Alternative {
    readonly steps: readonly AlternativeStep[];
    readonly text: string;
}
interface ExplainedCall {
    readonly call: string;
    readonly areas: readonly AreaInTheWay[];
    readonly letGo: readonly AreaInTheWay[];
    readonly unmapped?: bigint;
    readonly text: string;
}
interface ExplainedSuccess extends ExplainedCall {
    readonly ok: true;
    readonly iova?: bigint;
    readonly pinnedBytes: bigint;
}
interface ExplainedFailure extends ExplainedCall {
    readonly ok: false;
    readonly code: ErrorCode;
    readonly errno: number;
    readonly reason: ErrorReason;
    readonly alternatives: readonly Alternative[];
}
type Explanation = ExplainedSuccess | ExplainedFailure;
type ExplainRequest = {
    readonly call: "map";
    readonly iova?: U64Input | undefined;
    readonly uptr: U64Input;
    readonly length: U64Input;
    readonly prot: Protection;
    readonly memory?: UserMemory | undefined;
    readonly accounting?: AccountingMode | undefined;
} | {
    readonly call: "copy";
    readonly from: IovaSpace;
    readonly srcIova: U64Input;
    readonly iova?: U64Input | undefined;
    readonly length: U64Input;
    readonly prot: Protection;
} | {
    readonly call: "unmap";
    readonly iova: U64Input;
    readonly length: U64Input;
} | {
    readonly call: "access";
    readonly iova: U64Input;
    readonly length: U64Input;
    readonly write?: boolean | undefined;
} | {
    readonly call: "addDomain";
    readonly domain: IommuDomain;
};
declare class InvariantError extends Error {
    readonly name = "InvariantError";
    readonly invariant: string;
    constructor(invariant: string, detail: string);
}
interface RangeSnapshot {
    readonly start: string;
    readonly last: string;
}
interface AreaSnapshot {
    readonly iova: string;
    readonly last: string;
    readonly source: PagesSource | null;
    readonly uptr: string | null;
    readonly prot: Protection;
    readonly pages: number | null;
    readonly pins: number;
    readonly preventAccess: boolean;
    readonly storageDomain: number | null;
}
type PagesSource = "user" | "file" | "dma-buf";
interface PagesSnapshot {
    readonly id: number;
    readonly source: PagesSource;
    readonly uptr: string;
    readonly revoked: boolean;
    readonly npages: number;
    readonly writable: boolean;
    readonly pinned: number;
    readonly references: number;
}
interface DomainSnapshot {
    readonly pageSizes: readonly string[];
    readonly aperture: RangeSnapshot;
}
interface TableSnapshot {
    readonly profile: Profile;
    readonly alignment: number;
    readonly largePages: boolean;
    readonly areas: readonly AreaSnapshot[];
    readonly reserved: readonly (RangeSnapshot & {
        readonly owner: string;
    })[];
    readonly allowed: readonly RangeSnapshot[];
    readonly domains: readonly DomainSnapshot[];
    readonly pages: readonly PagesSnapshot[];
    readonly accesses: number;
}
type BitSink = (first: bigint, last: bigint) => void;
type ReservedRegionType = "direct" | "direct-relaxable" | "reserved" | "msi" | "sw-msi";
interface ReservedRegion {
    readonly start: U64Input;
    readonly length: U64Input;
    readonly type: ReservedRegionType;
}
interface IoPagetableOptions {
    readonly memory?: UserMemory;
    readonly profile?: ProfileName | undefined;
    readonly accounting?: AccountingMode;
    readonly faults?: FaultInjector;
}
interface MapOptions extends Abortable {
    readonly iova?: U64Input | undefined;
    readonly uptr: U64Input;
    readonly length: U64Input;
    readonly prot: Protection;
    readonly memory?: UserMemory | undefined;
    readonly accounting?: AccountingMode | undefined;
    readonly file?: undefined;
}
interface MapFileOptions extends Abortable {
    readonly iova?: U64Input | undefined;
    readonly file: UserFile | DmaBuf;
    readonly start: U64Input;
    readonly length: U64Input;
    readonly prot: Protection;
    readonly memory?: UserMemory | undefined;
    readonly accounting?: AccountingMode | undefined;
}
interface CopyOptions extends Abortable {
    readonly from: IoPagetable;
    readonly srcIova: U64Input;
    readonly iova?: U64Input | undefined;
    readonly length: U64Input;
    readonly prot: Protection;
}
interface ReadDirtyOptions extends Abortable {
    readonly domain: IommuDomain;
    readonly iova: U64Input;
    readonly length: U64Input;
    readonly pageSize: U64Input;
    readonly bitmap: Uint8Array | BitSink;
    readonly keep?: boolean | undefined;
}
declare class IoPagetable extends IovaSpace {
    #private;
    constructor(options?: IoPagetableOptions);
    map(options: MapOptions | MapFileOptions): Promise<bigint>;
    mapSync(options: MapOptions | MapFileOptions): bigint;
    copy(options: CopyOptions): Promise<bigint>;
    copySync(options: CopyOptions): bigint;
    unmap(iova: U64Input, length: U64Input, options?: Abortable): Promise<bigint>;
    unmapSync(iova: U64Input, length: U64Input): bigint;
    unmapAll(options?: Abortable): Promise<bigint>;
    unmapAllSync(): bigint;
    access(iova: U64Input, length: U64Input, options?: PinnedRangeOptions): Promise<PinnedRange>;
    addDomain(domain: IommuDomain, options?: Abortable): Promise<void>;
    removeDomain(domain: IommuDomain, options?: Abortable): Promise<void>;
    reserveIova(options: IovaRange & Abortable & {
        readonly owner?: object | null;
    }): Promise<void>;
    removeReservedIova(owner: object | null, options?: Abortable): Promise<void>;
    setAllowedIova(ranges: readonly IovaRange[], options?: Abortable): Promise<void>;
    iovaRanges(options?: Abortable): Promise<{
        ranges: {
            start: bigint;
            last: bigint;
        }[];
        alignment: number;
    }>;
    enforceReservedRegions(device: object, regions: readonly ReservedRegion[], options?: Abortable): Promise<{
        swMsiStart: bigint | undefined;
    }>;
    setLargePages(enable: boolean, options?: Abortable): Promise<void>;
    cutIova(addresses: readonly U64Input[], options?: Abortable): Promise<void>;
    setDirtyTracking(domain: IommuDomain, enable: boolean, options?: Abortable): Promise<void>;
    readDirty(options: ReadDirtyOptions): Promise<void>;
    explain(request: ExplainRequest & Abortable, options?: Abortable): Promise<Explanation>;
    snapshot(): TableSnapshot;
    check(): void;
}
declare abstract class IommufdObject {
    readonly id: number;
    constructor(id: number);
    abstract readonly kind: string;
}
interface AccessOptions extends Abortable {
    readonly ioas?: number | undefined;
    readonly needsPin?: boolean | undefined;
    readonly onUnmap?: ((area: UnmapNotice) => void | PromiseLike<void>) | undefined;
}
declare class IommufdAccess extends IommufdObject {
    #private;
    static readonly kind = "access";
    readonly kind = "access";
    get ioas(): number | undefined;
    get needsPin(): boolean;
    attach(ioas: number, options?: Abortable): Promise<void>;
    replace(ioas: number, options?: Abortable): Promise<void>;
    detach(options?: Abortable): Promise<void>;
    destroy(options?: Abortable): Promise<void>;
    pin(iova: U64Input, length: U64Input, options?: PinOptions): Promise<FrameRuns>;
    unpin(iova: U64Input, length: U64Input, options?: Abortable): Promise<void>;
    read(iova: U64Input, target: Uint8Array, options?: TransferOptions): Promise<void>;
    write(iova: U64Input, source: Uint8Array, options?: TransferOptions): Promise<void>;
    readSync(iova: U64Input, target: Uint8Array, options?: TransferOptions): void;
    writeSync(iova: U64Input, source: Uint8Array, options?: TransferOptions): void;
}
interface ViommuDriver {
    readonly type: number;
    readonly data?: {
        readonly least: number;
        readonly most: number;
    };
    create(request: ViommuRequest): VirtualIommu | PromiseLike<VirtualIommu>;
}
interface ViommuRequest {
    readonly data: Uint8Array | undefined;
    addWindow(bytes: Uint8Array): bigint;
}
interface VirtualIommu {
    readonly queueType?: number;
    addQueue?(queue: HardwareQueue): HardwareQueue | undefined;
    removeQueue?(queue: HardwareQueue): void;
    free?(): void;
}
interface HardwareQueue {
    readonly index: number;
    readonly iova: bigint;
    readonly length: bigint;
    readonly physical: bigint;
}
interface DriverData {
    readonly type: number;
    readonly least: number;
    readonly most: number;
}
interface DomainRequest {
    readonly data?: Uint8Array | undefined;
    readonly pasid?: boolean | undefined;
    readonly dirtyTracking: boolean;
    readonly nestParent: boolean;
}
interface HardwareInfo {
    readonly type: number;
    readonly data: Uint8Array;
}
interface IommuDevice {
    readonly name: string;
    readonly dirtyTracking?: boolean;
    readonly enforcesCoherency?: boolean;
    readonly reservedRegions?: readonly ReservedRegion[];
    readonly ats?: boolean;
    readonly maxPasidLog2?: number;
    readonly pageTableData?: DriverData;
    readonly viommu?: ViommuDriver;
    readonly hardwareInfo?: HardwareInfo;
    createDomain(request: DomainRequest): IommuDomain | PromiseLike<IommuDomain>;
    freeDomain?(domain: IommuDomain): void | PromiseLike<void>;
    attach?(domain: IommuDomain): void | PromiseLike<void>;
    detach?(): void | PromiseLike<void>;
}
declare class BoundDevice extends IommufdObject {
    #private;
    static readonly kind = "device";
    readonly kind = "device";
    readonly device: IommuDevice;
    get name(): string;
    get hwpt(): number | undefined;
    get msiWindow(): bigint | undefined;
    attach(pt: number, options?: Abortable): Promise<number>;
    replace(pt: number, options?: Abortable): Promise<number>;
    detach(options?: Abortable): Promise<void>;
    unbind(options?: Abortable): Promise<void>;
}
type Capability = "CAP_SYS_RESOURCE" | "CAP_IPC_LOCK" | "CAP_SYS_RAWIO";
interface Caller {
    readonly memory?: UserMemory | undefined;
    readonly capable?: ((capability: Capability) => boolean) | undefined;
}
type ContextAccounting = Exclude<AccountingMode, "none">;
interface DriverObjectParts {
    readonly kind: string;
    dispose(): Promise<void>;
}
declare const HW_CAPABILITY_DIRTY_TRACKING = 1n;
declare const HW_CAPABILITY_NO_ATS = 8n;
declare const GET_HW_INFO: Readonly<{
    readonly TYPE_WANTED: 1;
}>;
interface HwInfo extends HardwareInfo {
    readonly maxPasidLog2: number;
    readonly capabilities: bigint;
}
declare const IOAS_MAP: Readonly<{
    readonly FIXED_IOVA: 1;
    readonly WRITEABLE: 2;
    readonly READABLE: 4;
}>;
interface IovaRanges {
    readonly ranges: readonly {
        readonly start: bigint;
        readonly last: bigint;
    }[];
    readonly total: number;
    readonly alignment: number;
}
declare class PartialAnswerError<T> extends IommuError {
    readonly answer: T;
    constructor(reason: ErrorReason, answer: T);
}
interface PhysicalRange {
    readonly physical: bigint;
    readonly length: bigint;
}
interface PlannedMap {
    readonly ioas: number;
    readonly uptr: U64Input;
    readonly length: U64Input;
}
interface PlannedCopy {
    readonly ioas: number;
    readonly from: number;
    readonly srcIova: U64Input;
    readonly length: U64Input;
}
interface LockedBytesQuestion extends Pick<Caller, "memory"> {
    readonly mappings: readonly (PlannedMap | PlannedCopy)[];
    readonly attached?: boolean | undefined;
}
interface LockedBytes {
    readonly bytes: bigint;
    readonly lockedBytes: bigint;
    readonly limitBytes: bigint | undefined;
    readonly fits: boolean;
}
interface LockedBytesAnswer {
    readonly pinnedBytes: bigint;
    readonly none: LockedBytes;
    readonly user: LockedBytes;
    readonly mm: LockedBytes;
}
type VfioCapability = {
    readonly id: 3;
    readonly version: 1;
    readonly offset: number;
    readonly next: number;
    readonly available: number;
} | {
    readonly id: 1;
    readonly version: 1;
    readonly offset: number;
    readonly next: number;
    readonly ranges: readonly {
        readonly start: bigint;
        readonly last: bigint;
    }[];
};
interface VfioInfo {
    readonly flags: number;
    readonly pageSizes: bigint;
    readonly ranges: readonly {
        readonly start: bigint;
        readonly last: bigint;
    }[];
    readonly capabilities: readonly VfioCapability[];
    readonly size: number;
}
interface IommufdOptions extends Caller {
    readonly profile?: ProfileName | undefined;
    readonly accounting?: ContextAccounting;
    readonly noIommu?: boolean | undefined;
    readonly faults?: FaultInjector;
}
interface IoasMapRequest extends Caller, Abortable {
    readonly ioas: number;
    readonly uptr: U64Input;
    readonly length: U64Input;
    readonly prot: Protection;
    readonly iova?: U64Input | undefined;
}
interface IoasMapFileRequest extends Caller, Abortable {
    readonly ioas: number;
    readonly file: UserFile | DmaBuf;
    readonly start: U64Input;
    readonly length: U64Input;
    readonly prot: Protection;
    readonly iova?: U64Input | undefined;
}
interface IoasCopyRequest extends Abortable {
    readonly from: number;
    readonly srcIova: U64Input;
    readonly to: number;
    readonly iova?: U64Input | undefined;
    readonly length: U64Input;
    readonly prot: Protection;
}
interface IoasUnmapRequest extends Abortable {
    readonly ioas: number;
    readonly iova: U64Input;
    readonly length: U64Input;
}
interface VfioMapRequest extends Caller, Abortable {
    readonly iova: U64Input;
    readonly uptr: U64Input;
    readonly length: U64Input;
    readonly prot: Protection;
}
interface VfioUnmapRequest extends Abortable {
    readonly iova?: U64Input | undefined;
    readonly length?: U64Input | undefined;
    readonly all?: boolean | undefined;
}
interface DirtyBitmapRequest extends Abortable {
    readonly hwpt: number;
    readonly iova: U64Input;
    readonly length: U64Input;
    readonly pageSize: U64Input;
    readonly bitmap?: Uint8Array | undefined;
    readonly noClear?: boolean | undefined;
}
declare class Iommufd implements AsyncDisposable {
    #private;
    constructor(options?: IommufdOptions);
    get profile(): Profile;
    destroy(id: number, options?: Abortable): Promise<void>;
    addDriverObject(make: (id: number) => Promise<DriverObjectParts>, options?: Abortable): Promise<number>;
    close(options?: Abortable): Promise<void>;
    [Symbol.asyncDispose](): Promise<void>;
    ioasTable(ioas: number): IoPagetable;
    hwptDomain(hwpt: number): IommuDomain;
    check(): void;
    ioasAlloc(): Promise<number>;
    ioasIovaRanges(request: {
        readonly ioas: number;
        readonly max?: number | undefined;
    } & Abortable): Promise<IovaRanges>;
    ioasAllowIovas(request: {
        readonly ioas: number;
        readonly ranges: Iterable<IovaRange>;
    } & Abortable): Promise<void>;
    ioasMap(request: IoasMapRequest): Promise<bigint>;
    ioasMapFile(request: IoasMapFileRequest): Promise<bigint>;
    changeProcess(memory: UserMemory, options?: Abortable): Promise<void>;
    ioasCopy(request: IoasCopyRequest): Promise<bigint>;
    ioasUnmap(request: IoasUnmapRequest): Promise<bigint>;
    option(request: IommufdOptionRequest): Promise<bigint>;
    ioasNoiommuGetPa(request: {
        readonly ioas: number;
        readonly iova: U64Input;
        readonly length: U64Input;
    } & Caller & Abortable): Promise<PhysicalRange>;
    lockedBytesIfMapped(question: LockedBytesQuestion): Promise<LockedBytesAnswer>;
    deviceBind(device: IommuDevice, caller?: Caller): Promise<BoundDevice>;
    getHwInfo(request: {
        readonly device: number;
        readonly type?: number | undefined;
    }): Promise<HwInfo>;
    hwptAlloc(request: {
        readonly device: number;
        readonly ioas: number;
        readonly dirtyTracking?: boolean | undefined;
        readonly nestParent?: boolean | undefined;
        readonly pasid?: boolean | undefined;
        readonly data?: {
            readonly type: number;
            readonly bytes: Uint8Array;
        } | undefined;
    } & Abortable): Promise<number>;
    viommuAlloc(request: {
        readonly device: number;
        readonly type: number;
        readonly hwpt: number;
        readonly data?: Uint8Array | undefined;
    } & Abortable): Promise<number>;
    hwQueueAlloc(request: {
        readonly viommu: number;
        readonly type: number;
        readonly index: number;
        readonly iova: U64Input;
        readonly length: U64Input;
    } & Abortable): Promise<number>;
    setDirtyTracking(request: {
        readonly hwpt: number;
        readonly enable: boolean;
    } & Abortable): Promise<void>;
    getDirtyBitmap(request: DirtyBitmapRequest): Promise<Uint8Array>;
    accessCreate(options?: AccessOptions): Promise<IommufdAccess>;
    vfioIoasGet(): Promise<number>;
    vfioIoasSet(ioas: number): Promise<void>;
    vfioIoasClear(): Promise<void>;
    vfioCheckExtension(extension: number): Promise<number>;
    vfioSetIommu(type: number, options?: Abortable): Promise<void>;
    vfioMap(request: VfioMapRequest): Promise<void>;
    vfioUnmap(request: VfioUnmapRequest): Promise<bigint>;
    vfioInfo(options?: Abortable): Promise<VfioInfo>;
}
type IommufdOptionRequest = Caller & Abortable & {
    readonly value?: number | bigint | undefined;
} & ({
    readonly option: "rlimit-mode";
    readonly ioas?: undefined;
} | {
    readonly option: "huge-pages";
    readonly ioas: number;
});
declare class NoIommuDevice implements IommuDevice {
    readonly name: string;
    constructor(options?: {
        readonly name?: string | undefined;
    });
    createDomain(): RadixDomain;
}
interface WebAssemblyMemory {
    readonly buffer: ArrayBuffer | SharedArrayBuffer;
    readonly byteOffset?: never;
}
type MemorySource = ArrayBuffer | SharedArrayBuffer | WebAssemblyMemory;
declare class PhysicalMemory implements PinRecord {
    #private;
    get pinned(): number;
    pins(pfn: number): number;
    frames(pfn: number, count: number): Uint8Array;
    unpin(pfn: number, count: number): void;
    unpinAll(frames: FrameRuns): void;
}
interface DmaBufOptions {
    readonly physical?: PhysicalMemory | undefined;
    readonly size?: U64Input | undefined;
    readonly buffer?: ArrayBuffer | SharedArrayBuffer | undefined;
}
declare class DmaBufExporter implements DmaBuf {
    #private;
    readonly physical: PhysicalMemory;
    readonly buffer: ArrayBuffer | SharedArrayBuffer;
    readonly size: bigint;
    constructor(options: DmaBufOptions);
    get pfn(): number;
    get revoked(): boolean;
    get invalidations(): number;
    onInvalidate(listener: () => void | PromiseLike<void>): () => void;
    revoke(): Promise<void>;
    restore(): void;
    invalidate(): Promise<void>;
    free(): Promise<void>;
}
declare class ForwardingMemory<Behind extends UserMemory = UserMemory> implements UserMemory {
    readonly memory: Behind;
    constructor(memory: Behind);
    get exited(): boolean;
    get locked(): UserMemory["locked"];
    pin(page: number, count: number, write: boolean, into: FrameRuns): number | Promise<number>;
    unpin(pfn: number, count: number, dirty: boolean): void;
    unpinAll(frames: FrameRuns, dirty: boolean): void;
    frames(pfn: number, count: number): Uint8Array | undefined;
    copyFromFrames(pfn: number, offset: number, target: Uint8Array, targetOffset: number, length: number): number | Promise<number>;
    copyToFrames(pfn: number, offset: number, source: Uint8Array, sourceOffset: number, length: number): number | Promise<number>;
    copyFromUser(page: number, offset: number, target: Uint8Array, targetOffset: number, length: number): number | Promise<number>;
    copyToUser(page: number, offset: number, source: Uint8Array, sourceOffset: number, length: number): number | Promise<number>;
    resident(page: number, count: number, write: boolean): boolean;
}
type FileKind = "memfd" | "tmpfs" | "hugetlb" | "disk" | "device" | "directory";
type FileSeal = "seal" | "shrink" | "grow" | "write";
interface MemoryFileOptions {
    readonly size?: U64Input | undefined;
    readonly physical?: PhysicalMemory | undefined;
    readonly kind?: FileKind | undefined;
    readonly buffer?: ArrayBuffer | SharedArrayBuffer | undefined;
    readonly seals?: readonly FileSeal[] | undefined;
    readonly writable?: boolean | undefined;
    readonly frames?: "contiguous" | "scattered" | undefined;
}
declare class MemoryFile implements UserFile {
    #private;
    readonly writable: boolean;
    constructor(options?: MemoryFileOptions);
    get physical(): PhysicalMemory;
    get kind(): FileKind;
    get size(): bigint;
    get seals(): readonly FileSeal[];
    reopen(options?: {
        readonly writable?: boolean | undefined;
    }): MemoryFile;
    addSeals(...seals: FileSeal[]): void;
    truncate(size: U64Input): void;
    read(offset: U64Input, length: U64Input): Uint8Array;
    write(offset: U64Input, bytes: Uint8Array): void;
    frameAt(page: number): number | undefined;
    pinsAt(page: number): number | undefined;
    pin(page: number, count: number, into: FrameRuns): number;
    unpin(pfn: number, count: number): void;
    unpinAll(frames: FrameRuns): void;
    frames(pfn: number, count: number): Uint8Array;
    get pinRecord(): PinRecord | undefined;
}
interface MemoryRegion {
    readonly uptr: bigint;
    readonly length: bigint;
    readonly writable: boolean;
    readonly bytes: Uint8Array | undefined;
}
interface SharedRange {
    readonly pfn: number;
    readonly frames: number;
    readonly scattered: boolean;
    readonly buffer: SharedArrayBuffer;
}
interface SharedMemoryHandle {
    readonly ranges: readonly SharedRange[];
}
declare class SharedFrames {
    #private;
    static from(handle: SharedMemoryHandle): SharedFrames;
    private constructor();
    frames(pfn: number, count: number): Uint8Array;
}
interface ProcessMemoryOptions {
    readonly lockedLimit?: U64Input | undefined;
    readonly physical?: PhysicalMemory | undefined;
}
interface MmapOptions {
    readonly length: U64Input;
    readonly uptr?: U64Input | undefined;
    readonly buffer?: MemorySource | undefined;
    readonly bufferOffset?: U64Input | undefined;
    readonly file?: MemoryFile | undefined;
    readonly offset?: U64Input | undefined;
    readonly writable?: boolean | undefined;
    readonly frames?: "contiguous" | "scattered" | undefined;
    readonly sparse?: boolean | undefined;
}
declare class ProcessMemory implements UserMemory {
    #private;
    readonly physical: PhysicalMemory;
    constructor(options?: ProcessMemoryOptions);
    get locked(): {
        readonly user: LockedMemory;
        readonly mm: LockedMemory;
    } | undefined;
    get exited(): boolean;
    get regions(): readonly MemoryRegion[];
    mmap(options: MmapOptions): MemoryRegion;
    munmap(uptr: U64Input, length: U64Input): void;
    protect(uptr: U64Input, length: U64Input, writable: boolean): void;
    exit(): void;
    fork(): ProcessMemory;
    share(): SharedMemoryHandle;
    pins(uptr: U64Input): number;
    frameOf(uptr: U64Input): number;
    pinsAt(page: number): number | undefined;
    hugeAt(page: number): boolean;
    frameAt(page: number): number | undefined;
    read(uptr: U64Input, length: U64Input): Uint8Array;
    write(uptr: U64Input, bytes: Uint8Array): void;
    pin(page: number, count: number, write: boolean, into: FrameRuns): number;
    unpin(pfn: number, count: number): void;
    unpinAll(frames: FrameRuns): void;
    frames(pfn: number, count: number): Uint8Array;
    copyFromUser(page: number, offset: number, target: Uint8Array, targetOffset: number, length: number): number;
    copyToUser(page: number, offset: number, source: Uint8Array, sourceOffset: number, length: number): number;
    window(page: number): MemoryWindow | undefined;
    get pinRecord(): PinRecord | undefined;
}
interface MockEntry {
    readonly iova: bigint;
    readonly size: bigint;
    readonly physical: bigint;
    readonly dirty: boolean;
}
interface MockMapCall {
    readonly iova: bigint;
    readonly physical: bigint;
    readonly pageSize: bigint;
    readonly count: bigint;
}
interface MockDomainOptions {
    readonly profile?: ProfileName | undefined;
    readonly huge?: boolean | undefined;
    readonly dirty?: boolean | undefined;
    readonly strict?: boolean | undefined;
    readonly ioPageSize?: U64Input | undefined;
    readonly aperture?: {
        readonly start: U64Input;
        readonly last: U64Input;
    } | undefined;
    readonly onMap?: ((call: MockMapCall) => void) | undefined;
    readonly faults?: FaultInjector | undefined;
}
declare class MockDomain implements IommuDomain {
    #private;
    readonly pageSizeBitmap: bigint;
    readonly aperture: {
        readonly start: bigint;
        readonly last: bigint;
    };
    readonly dirty?: DirtyOperations;
    readonly warnings: string[];
    constructor(options?: MockDomainOptions);
    get mappedBytes(): bigint;
    entry(iova: U64Input): MockEntry | undefined;
    map(iova: U64Input, physical: U64Input, size: U64Input, _protection?: number): void;
    unmap(iova: U64Input, size: U64Input): void;
    iovaToPhys(iova: U64Input): bigint | undefined;
    makeDirty(iova: U64Input, length: U64Input, pageSize: U64Input, bitmap: Uint8Array): number;
    free(): void;
}
declare function formatBytes(bytes: bigint): string;
declare function printable(text: string): string;
interface RecordedArea {
    readonly iova: string;
    readonly last: string;
    readonly source?: Exclude<PagesSource, "user">;
    readonly uptr: string;
    readonly prot: string;
    readonly pages: number;
}
interface RecordedReservation extends RangeSnapshot {
    readonly owner: string;
}
interface RecordedSetting {
    readonly alignment: number;
    readonly reserved: readonly RecordedReservation[];
    readonly allowed: readonly RangeSnapshot[];
    readonly domains: readonly DomainSnapshot[];
}
interface RecordedSpace {
    readonly id: number;
    readonly name: string;
    readonly areas: readonly RecordedArea[];
    readonly setting: RecordedSetting;
}
interface RecordedStep {
    readonly line: number;
    readonly space: number | null;
    readonly call: string;
    readonly logged: string;
    readonly answered: string;
    readonly diverges: boolean;
    readonly reason?: string;
    readonly advice?: string;
    readonly pinnedPages: number;
    readonly removed?: readonly string[];
    readonly added?: readonly RecordedArea[];
    readonly setting?: RecordedSetting;
}
interface RecordedFigures {
    readonly operations: number;
    readonly translations: number;
    readonly divergences: number;
    readonly malformed: number;
    readonly notReplayed: number;
    readonly peakAreas: number;
    readonly peakPinnedBytes: string;
    readonly largestHole: string;
    readonly fragmentation: number;
}
interface ReplayRecording {
    readonly format: 1;
    readonly log: string;
    readonly profile: Profile;
    readonly skipped: number;
    readonly spaces: readonly RecordedSpace[];
    readonly steps: readonly RecordedStep[];
    readonly skippedDivergences: readonly RecordedStep[];
    readonly figures: RecordedFigures;
}
declare function renderHtml(recording: ReplayRecording): Generator<string, void, undefined>;
interface RenderSvgOptions {
    readonly title?: string;
    readonly rows?: number;
}
declare function renderSvg(snapshot: TableSnapshot, options?: RenderSvgOptions): string;
interface RenderTextOptions {
    readonly rows?: number;
}
declare function renderText(snapshot: TableSnapshot, options?: RenderTextOptions): string;
interface HoleFigures {
    readonly largestHole: bigint;
    readonly fragmentation: number;
}
declare function measureHoles(snapshot: TableSnapshot): HoleFigures;
declare class LoggedMemory implements UserMemory {
    #private;
    readonly locked?: {
        readonly user: LockedMemory;
        readonly mm: LockedMemory;
    };
    constructor(locked?: {
        readonly user: LockedMemory;
        readonly mm: LockedMemory;
    });
    without<T>(uptr: bigint, length: bigint, call: () => Promise<T>): Promise<T>;
    pin(page: number, count: number, _write: boolean, into: FrameRuns): number;
    unpin(): void;
    frames(): Uint8Array;
    copyFromUser(_page: number, _offset: number, target: Uint8Array, targetOffset: number, length: number): number;
    copyToUser(_page: number, _offset: number, _source: Uint8Array, _sourceOffset: number, length: number): number;
}
interface Answer$1 {
    readonly code: "OK" | ErrorCode;
    readonly unmapped: bigint;
    readonly because: string;
    readonly error?: IommuError;
}
interface NamedSpace {
    readonly name: string;
    readonly table: IoPagetable;
}
type CreateDomain = (request: {
    readonly dirtyTracking: boolean;
}) => IommuDomain;
interface ReplayQuestion {
    readonly space: NamedSpace;
    readonly request: ExplainRequest;
}
interface SpaceOptions {
    readonly profile: Profile;
    readonly memory: UserMemory;
    readonly logged?: LoggedMemory | undefined;
    readonly createDomain: CreateDomain;
}
declare class ReplaySpace implements NamedSpace {
    readonly name: string;
    readonly table: IoPagetable;
    readonly domain: IommuDomain;
    constructor(name: string, table: IoPagetable, domain: IommuDomain);
    static create(name: string, options: SpaceOptions): Promise<ReplaySpace>;
    translate(iova: bigint): {
        readonly physical: bigint;
        readonly protection: number;
    } | undefined;
    map(iova: bigint, uptr: bigint, length: bigint, prot: Protection): Promise<Answer$1>;
    unmap(iova: bigint, length: bigint): Promise<Answer$1>;
    close(): Promise<void>;
}
interface Divergence {
    readonly line: number;
    readonly operation: string;
    readonly logged: string;
    readonly answered: string;
    readonly reason: string;
}
interface ReplayStep {
    readonly line: number;
    readonly operation: string;
    readonly logged: string;
    readonly answer: Answer$1;
    readonly space: ReplaySpace;
    readonly changed?: Interval | undefined;
    readonly divergence?: Divergence;
}
interface ReplayFigures {
    readonly requests: number;
    readonly translations: number;
    readonly misses: number;
    readonly divergences: number;
    readonly malformed: number;
    readonly notReplayed: number;
    readonly peakAreas: number;
    readonly peakPinnedBytes: bigint;
    readonly largestHole: bigint;
    readonly fragmentation: number;
}
declare function formatDivergence(divergence: Divergence, profile: string): string;
type LogLines = Iterable<string> | AsyncIterable<string>;
interface LogPlace {
    readonly line: number;
}
interface MalformedLine extends LogPlace {
    readonly type: "malformed";
    readonly problem: string;
    readonly text: string;
}
declare function splitLines(chunks: Iterable<string> | AsyncIterable<string>, longest?: number): AsyncGenerator<string, void, undefined>;
interface LoggedEvent extends LogPlace {
    readonly type: string;
    readonly announcedOnLine?: number;
}
interface EventJoiner<Own extends LoggedEvent> {
    next<Event extends LoggedEvent>(event: Event | Own): (Event | Own)[];
    passBy?(text: string): void;
    end(): Own[];
}
interface IommufdCall extends LogPlace {
    readonly iommufd: number;
    readonly result: number;
    readonly failure?: ErrorCode;
}
interface IommufdConnect extends LogPlace {
    readonly type: "iommufd-connect";
    readonly fd: number;
    readonly owned: boolean;
    readonly users: number;
}
interface IommufdDisconnect extends LogPlace {
    readonly type: "iommufd-disconnect";
    readonly fd: number;
    readonly users: number;
}
interface IommufdAllocIoas extends LogPlace {
    readonly type: "iommufd-alloc-ioas";
    readonly iommufd: number;
    readonly ioas: number;
}
interface IommufdMapDma extends IommufdCall {
    readonly type: "iommufd-map-dma";
    readonly ioas: number;
    readonly iova: bigint;
    readonly length: bigint;
    readonly uptr: bigint;
    readonly readonly: boolean;
}
interface IommufdMapFileDma extends IommufdCall {
    readonly type: "iommufd-map-file-dma";
    readonly ioas: number;
    readonly iova: bigint;
    readonly length: bigint;
    readonly fd: number;
    readonly start: bigint;
    readonly readonly: boolean;
}
interface IommufdUnmapDma extends IommufdCall {
    readonly type: "iommufd-unmap-dma" | "iommufd-unmap-dma-non-exist";
    readonly ioas: number;
    readonly iova: bigint;
    readonly length: bigint;
}
interface IommufdAllocHwpt extends IommufdCall {
    readonly type: "iommufd-alloc-hwpt";
    readonly device: number;
    readonly parent: number;
    readonly flags: bigint;
    readonly dataType: number;
    readonly dataLength: number;
    readonly dataPointer: bigint;
    readonly hwpt: number;
}
interface IommufdFreeId extends IommufdCall {
    readonly type: "iommufd-free-id";
    readonly id: number;
}
interface IommufdSetDirty extends IommufdCall {
    readonly type: "iommufd-set-dirty";
    readonly hwpt: number;
    readonly enable: boolean;
}
interface IommufdGetDirtyBitmap extends IommufdCall {
    readonly type: "iommufd-get-dirty-bitmap";
    readonly hwpt: number;
    readonly iova: bigint;
    readonly length: bigint;
    readonly flags: bigint;
    readonly pageSize: bigint;
}
type IommufdEvent = IommufdConnect | IommufdDisconnect | IommufdAllocIoas | IommufdMapDma | IommufdMapFileDma | IommufdUnmapDma | IommufdAllocHwpt | IommufdFreeId | IommufdSetDirty | IommufdGetDirtyBitmap;
declare function parseIommufdLine(text: string, line: number): IommufdEvent | MalformedLine | undefined;
declare function formatIommufdEvent(event: IommufdEvent): string;
interface VfioCall extends LogPlace {
    readonly container: bigint;
    readonly iova: bigint;
    readonly length: bigint;
    readonly result: number;
    readonly text?: string;
    readonly sourceLine?: number;
}
interface VfioMap extends VfioCall {
    readonly type: "vfio-map";
    readonly uptr: bigint;
}
interface VfioUnmap extends VfioCall {
    readonly type: "vfio-unmap";
    readonly announcedOnLine?: number;
}
type VfioEvent = VfioMap | VfioUnmap;
declare function parseVfioLine(text: string, line: number): VfioEvent | MalformedLine | undefined;
declare function formatVfioEvent(event: VfioEvent): string;
interface VfioUserBegin extends LogPlace {
    readonly type: "vfiouser-begin";
}
interface VfioUserMap extends LogPlace {
    readonly type: "vfiouser-map";
    readonly id: number | undefined;
    readonly iova: bigint;
    readonly length: bigint;
    readonly flags: number;
    readonly offset: bigint;
    readonly file: boolean;
}
interface VfioUserUnmap extends LogPlace {
    readonly type: "vfiouser-unmap";
    readonly id: number | undefined;
    readonly iova: bigint;
    readonly length: bigint;
    readonly removed: number | undefined;
}
interface VfioUserReply extends LogPlace {
    readonly type: "vfiouser-reply";
    readonly call: "map" | "unmap";
    readonly id: number;
    readonly error: number;
}
type VfioUserEvent = VfioUserBegin | VfioUserMap | VfioUserUnmap | VfioUserReply;
interface ViommuMap extends LogPlace {
    readonly type: "viommu-map";
    readonly domain: number;
    readonly iova: bigint;
    readonly last: bigint;
    readonly physical: bigint;
    readonly flags: number;
}
interface ViommuUnmap extends LogPlace {
    readonly type: "viommu-unmap";
    readonly domain: number;
    readonly iova: bigint;
    readonly last: bigint;
}
interface ViommuUnmapDone extends LogPlace {
    readonly type: "viommu-unmap-done";
    readonly domain: number;
    readonly iova: bigint;
    readonly last: bigint;
}
interface ViommuTranslate extends LogPlace {
    readonly type: "viommu-translate";
    readonly region: string;
    readonly endpoint: number;
    readonly iova: bigint;
    readonly access: number;
}
interface ViommuTranslated extends LogPlace {
    readonly type: "viommu-translated";
    readonly iova: bigint;
    readonly physical: bigint;
    readonly endpoint: number;
}
interface ViommuAttachment extends LogPlace {
    readonly type: "viommu-attach" | "viommu-detach";
    readonly domain: number;
    readonly endpoint: number;
}
interface ViommuReserved extends LogPlace {
    readonly type: "viommu-reserved";
    readonly endpoint: number;
    readonly kind: number;
    readonly iova: bigint;
    readonly last: bigint;
}
interface ViommuFreeDomain extends LogPlace {
    readonly type: "viommu-free-domain";
    readonly domain: number;
}
interface ViommuFreeEndpoint extends LogPlace {
    readonly type: "viommu-free-endpoint";
    readonly endpoint: number;
}
type ViommuEvent = ViommuMap | ViommuUnmap | ViommuUnmapDone | ViommuTranslate | ViommuTranslated | ViommuAttachment | ViommuReserved | ViommuFreeDomain | ViommuFreeEndpoint;
declare function parseViommuLine(text: string, line: number): ViommuEvent | MalformedLine | undefined;
declare function formatViommuEvent(event: ViommuEvent): string;
type LogEvent = VfioEvent | ViommuEvent | IommufdEvent | VfioUserEvent;
declare class VfioCallJoiner implements EventJoiner<VfioEvent> {
    #private;
    next<Event extends LoggedEvent>(event: Event | VfioEvent): (Event | VfioEvent)[];
    end(): VfioUnmap[];
}
declare class LogError extends Error {
    readonly name = "LogError";
    readonly code: "ERR_LOG_EMPTY" | "ERR_LOG_FORMAT" | "ERR_LOG_OPTIONS" | "ERR_LOG_TOO_LARGE";
    constructor(code: LogError["code"], message: string);
}
declare function readLog(lines: LogLines): AsyncGenerator<LogEvent | MalformedLine, void, undefined>;
interface ReplayRecorderOptions {
    readonly log: string;
    readonly profile: ProfileName;
    readonly limit?: number;
}
interface RecordableStep {
    readonly line: number;
    readonly operation: string;
    readonly logged: string;
    readonly answer: {
        readonly code: string;
        readonly whole?: string | undefined;
        readonly because?: string | undefined;
        readonly error?: unknown;
    };
    readonly space: NamedSpace | undefined;
    readonly changed?: Interval | undefined;
    readonly divergence?: object | undefined;
}
interface StepCircumstances {
    readonly pinnedPages: number;
    readonly settingChanged: boolean;
    readonly advice?: string | undefined;
}
declare class ReplayRecorder {
    #private;
    constructor({ log, profile, limit }: ReplayRecorderOptions);
    step(step: RecordableStep, { pinnedPages, settingChanged, advice }: StepCircumstances): void;
    divergence(divergence: Omit<Divergence, "reason"> & {
        readonly reason?: string;
    }): void;
    ended(space: NamedSpace, line: number): void;
    recording(figures: ReplayFigures): ReplayRecording;
}
interface ReplayOptions {
    readonly profile?: ProfileName | undefined;
    readonly memory?: UserMemory;
    readonly lockedLimit?: U64Input | undefined;
    readonly guestRam?: bigint;
    readonly createDomain?: CreateDomain;
    readonly onDivergence?: (divergence: Divergence) => void;
    readonly onSpaceEnd?: (space: ReplaySpace) => void;
    readonly onMalformed?: (line: MalformedLine) => void;
}
declare function replay(lines: LogLines, options?: ReplayOptions): Promise<ReplayFigures>;
declare class Replayer {
    #private;
    constructor(options?: ReplayOptions);
    spaces(): Generator<ReplaySpace, void, undefined>;
    get pinnedPages(): number;
    apply(event: LogEvent | MalformedLine): Promise<ReplayStep | undefined>;
    question(event: LogEvent): Promise<ReplayQuestion | undefined>;
    explain(event: LogEvent): Promise<Explanation | undefined>;
    settingChanged(space: NamedSpace): boolean;
    finish(): Promise<ReplayFigures>;
}
interface TestMemory extends UserMemory {
    frameAt?(page: number): number | undefined;
    pinsAt?(page: number): number | "uncounted" | undefined;
    hugeAt?(page: number): boolean;
}
declare const MOCK_ACCESS: Readonly<{
    readonly WRITE: 1;
    readonly SLOW_PATH: 4;
}>;
interface AccessPagesRequest {
    readonly iova: U64Input;
    readonly length: U64Input;
    readonly flags: number;
    readonly uptr?: U64Input | undefined;
}
interface AccessRwRequest {
    readonly iova: U64Input;
    readonly length: U64Input;
    readonly flags: number;
    readonly source?: ((length: number) => Uint8Array | Promise<Uint8Array>) | undefined;
}
declare class MockAccess {
    #private;
    private constructor();
    static closed(): MockAccess;
    static create(iommufd: Iommufd, options: {
        readonly ioas: number;
        readonly needsPin: boolean;
    }): Promise<MockAccess>;
    pages(request: AccessPagesRequest, caller: TestMemory, deliver?: (item: number) => void | Promise<void>): Promise<number>;
    destroyPages(item: number): Promise<void>;
    rw(request: AccessRwRequest, caller: UserMemory): Promise<Uint8Array>;
    replaceIoas(ioas: number): Promise<void>;
    close(): Promise<void>;
}
type AfterClose = () => void | Promise<void>;
declare class AccessFiles {
    #private;
    constructor(first?: number);
    add(access: MockAccess, afterClose?: AfterClose): number;
    has(file: number): boolean;
    get(file: number): MockAccess;
    close(file: number): Promise<void>;
}
interface CheckMapRequest {
    readonly domain: () => IommuDomain;
    readonly domainFirst?: boolean | undefined;
    readonly memory: TestMemory;
    readonly iova: U64Input;
    readonly length: U64Input;
    readonly uptr: U64Input;
}
declare function checkMap(request: CheckMapRequest): Promise<void>;
declare function checkRefs(memory: TestMemory, request: {
    readonly uptr: U64Input;
    readonly length: U64Input;
    readonly refs: number;
}): void;
interface PinRun {
    pages: number;
    readonly pins: number;
}
declare function pagePins(memory: ProcessMemory, request: {
    readonly uptr: U64Input;
    readonly length: U64Input;
}): PinRun[];
interface TestRegion {
    readonly uptr: U64Input;
    readonly length: U64Input;
    readonly writable: boolean;
}
declare function createMemory(regions: readonly TestRegion[], limits?: {
    readonly lockedPages?: number | undefined;
}): ProcessMemory;
declare class FaultCounter implements FaultInjector {
    #private;
    get points(): readonly FaultPoint[];
    get failed(): FaultPoint | undefined;
    arm(nth: number): void;
    disarm(): void;
    fails(point: FaultPoint): boolean;
}
declare const MOCK_FLAGS: Readonly<{
    readonly NO_DIRTY: 1;
    readonly HUGE_IOVA: 2;
    readonly PASID: 4;
}>;
declare function mockTableData(options: {
    readonly huge: boolean;
}): {
    type: number;
    bytes: Uint8Array;
};
interface MockDeviceOptions {
    readonly name?: string | undefined;
    readonly flags?: number | undefined;
    readonly profile?: ProfileName | undefined;
}
declare class MockDevice implements IommuDevice {
    #private;
    readonly name: string;
    readonly dirtyTracking: boolean;
    readonly hardwareInfo: HardwareInfo;
    readonly pageTableData?: DriverData;
    readonly maxPasidLog2: number;
    readonly viommu: ViommuDriver;
    readonly caches: readonly number[];
    constructor(options?: MockDeviceOptions);
    createDomain({ dirtyTracking, data }: DomainRequest): MockDomain;
    freeDomain(domain: MockDomain): void;
    attach(domain: IommuDomain): void;
}
interface FaultScenario {
    call(): Promise<unknown>;
    state(): unknown;
    check?(): void;
    readonly partial?: readonly FaultPoint[] | undefined;
    readonly done?: readonly FaultPoint[] | undefined;
    readonly detours?: readonly FaultPoint[] | undefined;
}
declare function sweepFaults(prepare: (faults: FaultCounter) => Promise<FaultScenario>): Promise<FaultPoint[]>;
declare class MockDmaBuf extends DmaBufExporter {
    constructor(length: number, physical: PhysicalMemory | undefined);
    setRevoked(revoked: boolean): Promise<void>;
}
interface MockDomainIds {
    readonly testDevice: number;
    readonly device: number;
    readonly hwpt: number;
}
declare class TestDriver {
    #private;
    constructor(iommufd: Iommufd, options: {
        readonly memory: TestMemory;
        readonly files?: AccessFiles | undefined;
    });
    addReserved(request: {
        readonly ioas: number;
        readonly start: U64Input;
        readonly length: U64Input;
    }): Promise<void>;
    mockDomain(request: {
        readonly pt: number;
        readonly flags?: number | undefined;
    }, deliver?: (ids: MockDomainIds) => void | Promise<void>): Promise<MockDomainIds>;
    mockDomainReplace(request: {
        readonly testDevice: number;
        readonly pt: number;
    }): Promise<number>;
    checkCache(request: {
        readonly device: number;
        readonly cache: number;
        readonly value: number;
    }): Promise<void>;
    deviceOf(testDevice: number): BoundDevice;
    checkMap(request: {
        readonly hwpt: number;
        readonly iova: U64Input;
        readonly length: U64Input;
        readonly uptr: U64Input;
        readonly memory?: TestMemory | undefined;
    }): Promise<void>;
    checkRefs(request: {
        readonly uptr: U64Input;
        readonly length: U64Input;
        readonly refs: number;
        readonly memory?: TestMemory | undefined;
    }): Promise<void>;
    setTempMemoryLimit(limit: number): Promise<void>;
    dirty(request: {
        readonly hwpt: number;
        readonly iova: U64Input;
        readonly length: U64Input;
        readonly pageSize: U64Input;
        readonly bitmap: Uint8Array | (() => Uint8Array | Promise<Uint8Array>);
    }): Promise<number>;
    dmaBufGet(length: number): MockDmaBuf;
    dmaBufRevoke(buffer: DmaBuf, revoked: boolean): Promise<void>;
    createAccess(request: {
        readonly ioas: number;
        readonly flags: number;
    }, file?: {
        readonly deliver?: ((file: number) => void | Promise<void>) | undefined;
        readonly afterClose?: AfterClose | undefined;
    }): Promise<number>;
    closeAccess(file: number): Promise<void>;
    accessPages(file: number, request: AccessPagesRequest, memory?: TestMemory, deliver?: (item: number) => void | Promise<void>): Promise<number>;
    destroyAccessPages(file: number, item: number): Promise<void>;
    accessRw(file: number, request: AccessRwRequest, memory?: TestMemory): Promise<Uint8Array>;
    accessReplaceIoas(file: number, ioas: number): Promise<void>;
}
type FieldType = "u8" | "u16" | "u32" | "s32" | "u64";
type FieldUse = "size" | "in" | "in?" | "out" | "io" | "reserved" | "ignored";
interface Field<T extends FieldType = FieldType, U extends FieldUse = FieldUse> {
    readonly type: T;
    readonly at: number;
    readonly use: U;
    readonly count: number;
}
type Fields = Readonly<Record<string, Field>>;
type NamesOf<F extends Fields, U extends FieldUse> = {
    [Name in keyof F]: F[Name]["use"] extends U ? Name : never;
}[keyof F];
type ValueOf<F extends Field> = F["type"] extends "u64" ? bigint : number;
type InputOf<F extends Field> = F["type"] extends "u64" ? U64Input : number;
type Decoded<F extends Fields> = {
    readonly [Name in NamesOf<F, "size" | "in" | "in?" | "out" | "io">]: ValueOf<F[Name]>;
};
type Encodable<F extends Fields> = {
    readonly [Name in NamesOf<F, "in" | "io">]: InputOf<F[Name]>;
} & {
    readonly [Name in NamesOf<F, "size" | "in?" | "out">]?: InputOf<F[Name]> | undefined;
};
type Answer<F extends Fields> = {
    readonly [Name in NamesOf<F, "out" | "io" | "size">]?: ValueOf<F[Name]>;
};
declare class Struct<const F extends Fields> {
    #private;
    readonly length: number;
    readonly fields: F;
    constructor(length: number, fields: F);
    decode(bytes: Uint8Array, from?: number): Decoded<F>;
    decodePart(bytes: Uint8Array): Decoded<F>;
    encode(values: Encodable<F>): Uint8Array;
    write(bytes: Uint8Array, values: object, from?: number): void;
    reservedInUse(bytes: Uint8Array): string | undefined;
}
interface Command<F extends Fields = Fields> {
    readonly request: number;
    readonly least: number;
    readonly struct: Struct<F>;
    readonly since: Release;
    readonly op?: number;
    readonly onFile?: true;
    readonly failureAnswer?: Answer<F>;
}
type Sized<F extends Fields> = {
    readonly size: Field<"u32", "size">;
} & F;
type CallerFile = {
    readonly kind: "file";
    readonly file: UserFile;
} | {
    readonly kind: "dma-buf";
    readonly file: DmaBuf;
};
interface DeviceCaller extends Caller {
    readonly file?: ((fd: number) => CallerFile | undefined) | undefined;
    readonly openFile?: ((file: CallerFile) => number) | undefined;
}
interface DeviceCommands {
    readonly request: number;
}
declare function testCommands(options?: {
    readonly files?: AccessFiles | undefined;
}): DeviceCommands;
declare const SET_DIRTY_TRACKING: Readonly<{
    readonly ENABLE: 1;
}>;
declare const GET_DIRTY_BITMAP: Readonly<{
    readonly NO_CLEAR: 1;
}>;
declare const HWPT_ALLOC: Readonly<{
    readonly NEST_PARENT: 1;
    readonly DIRTY_TRACKING: 2;
    readonly FAULT_ID_VALID: 4;
    readonly ALLOC_PASID: 8;
}>;
declare const OPTION: Readonly<{
    readonly RLIMIT_MODE: 0;
    readonly HUGE_PAGES: 1;
}>;
declare const OPTION_OP: Readonly<{
    readonly SET: 0;
    readonly GET: 1;
}>;
declare const VFIO_IOAS_OP: Readonly<{
    readonly GET: 0;
    readonly SET: 1;
    readonly CLEAR: 2;
}>;
declare const VFIO_EXTENSION: Readonly<{
    readonly TYPE1_IOMMU: 1;
    readonly TYPE1V2_IOMMU: 3;
    readonly DMA_CC_IOMMU: 4;
    readonly NOIOMMU_IOMMU: 8;
    readonly UNMAP_ALL: 9;
}>;
declare const VFIO_UNMAP: Readonly<{
    readonly ALL: 2;
}>;
declare const COMMANDS: Readonly<{
    VFIO_IOMMU_GET_INFO: Command<{
        readonly argsz: Field<"u32", "size">;
    } & {
        readonly flags: Field<"u32", "out">;
        readonly iovaPgsizes: Field<"u64", "out">;
        readonly capOffset: Field<"u32", "out">;
        readonly pad: Field<"u32", "ignored">;
    }>;
    VFIO_IOMMU_MAP_DMA: Command<{
        readonly argsz: Field<"u32", "size">;
    } & {
        readonly flags: Field<"u32", "in">;
        readonly vaddr: Field<"u64", "in">;
        readonly iova: Field<"u64", "in">;
        readonly size: Field<"u64", "in">;
    }>;
    VFIO_IOMMU_UNMAP_DMA: Command<{
        readonly argsz: Field<"u32", "size">;
    } & {
        readonly flags: Field<"u32", "in?">;
        readonly iova: Field<"u64", "in">;
        readonly size: Field<"u64", "io">;
    }>;
    TEST_ADD_RESERVED: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly start: Field<"u64", "in">;
        readonly length: Field<"u64", "in">;
    }>> & {
        op: number;
    };
    TEST_MOCK_DOMAIN: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly outStdevId: Field<"u32", "out">;
        readonly outHwptId: Field<"u32", "out">;
        readonly outIdevId: Field<"u32", "out">;
    }>> & {
        op: number;
    };
    TEST_MD_CHECK_MAP: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly iova: Field<"u64", "in">;
        readonly length: Field<"u64", "in">;
        readonly uptr: Field<"u64", "in">;
    }>> & {
        op: number;
    };
    TEST_MD_CHECK_REFS: Command<Sized<{
        readonly length: Field<"u64", "in">;
        readonly uptr: Field<"u64", "in">;
        readonly refs: Field<"u32", "in">;
    }>> & {
        op: number;
    };
    TEST_CREATE_ACCESS: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly outAccessFd: Field<"u32", "out">;
        readonly flags: Field<"u32", "in">;
    }>> & {
        op: number;
    };
    TEST_DESTROY_ACCESS_PAGES: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly accessPagesId: Field<"u32", "in">;
    }>> & {
        op: number;
    };
    TEST_ACCESS_PAGES: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly flags: Field<"u32", "in">;
        readonly outAccessPagesId: Field<"u32", "out">;
        readonly iova: Field<"u64", "in">;
        readonly length: Field<"u64", "in">;
        readonly uptr: Field<"u64", "in?">;
    }>> & {
        op: number;
    };
    TEST_ACCESS_RW: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly iova: Field<"u64", "in">;
        readonly length: Field<"u64", "in">;
        readonly uptr: Field<"u64", "in">;
        readonly flags: Field<"u32", "in">;
    }>> & {
        op: number;
    };
    TEST_SET_TEMP_MEMORY_LIMIT: Command<Sized<{
        readonly limit: Field<"u32", "in">;
    }>> & {
        op: number;
    };
    TEST_MOCK_DOMAIN_REPLACE: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly ptId: Field<"u32", "io">;
    }>> & {
        op: number;
    };
    TEST_ACCESS_REPLACE_IOAS: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly ioasId: Field<"u32", "in">;
    }>> & {
        op: number;
    };
    TEST_MOCK_DOMAIN_FLAGS: Command<Sized<{
        readonly devFlags: Field<"u32", "in">;
        readonly id: Field<"u32", "in">;
        readonly outStdevId: Field<"u32", "out">;
        readonly outHwptId: Field<"u32", "out">;
        readonly outIdevId: Field<"u32", "out">;
    }>> & {
        op: number;
    };
    TEST_DIRTY: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly flags: Field<"u32", "ignored">;
        readonly iova: Field<"u64", "in">;
        readonly length: Field<"u64", "in">;
        readonly pageSize: Field<"u64", "in">;
        readonly uptr: Field<"u64", "in">;
        readonly outNrDirty: Field<"u64", "out">;
    }>> & {
        op: number;
    };
    TEST_MD_CHECK_IOTLB: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly iotlbId: Field<"u32", "in">;
        readonly iotlb: Field<"u32", "in">;
    }>> & {
        op: number;
    };
    TEST_TRIGGER_IOPF: Command<Sized<{
        readonly devId: Field<"u32", "in">;
        readonly pasid: Field<"u32", "in">;
        readonly grpid: Field<"u32", "in">;
        readonly perm: Field<"u32", "in">;
        readonly addr: Field<"u64", "in">;
    }>> & {
        op: number;
    };
    TEST_DEV_CHECK_CACHE: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly cacheId: Field<"u32", "in">;
        readonly cache: Field<"u32", "in">;
    }>> & {
        op: number;
    };
    TEST_TRIGGER_VEVENT: Command<Sized<{
        readonly devId: Field<"u32", "in">;
    }>> & {
        op: number;
    };
    TEST_PASID_ATTACH: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly pasid: Field<"u32", "in">;
        readonly ptId: Field<"u32", "io">;
    }>> & {
        op: number;
    };
    TEST_PASID_REPLACE: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly pasid: Field<"u32", "in">;
        readonly ptId: Field<"u32", "io">;
    }>> & {
        op: number;
    };
    TEST_PASID_DETACH: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly pasid: Field<"u32", "in">;
    }>> & {
        op: number;
    };
    TEST_PASID_CHECK_HWPT: Command<Sized<{
        readonly id: Field<"u32", "in">;
        readonly pasid: Field<"u32", "in">;
        readonly hwptId: Field<"u32", "in">;
    }>> & {
        op: number;
    };
    TEST_DMABUF_GET: Command<Sized<{
        readonly length: Field<"u32", "in">;
        readonly openFlags: Field<"u32", "in?">;
    }>> & {
        op: number;
    };
    TEST_DMABUF_REVOKE: Command<Sized<{
        readonly fd: Field<"s32", "in">;
        readonly revoked: Field<"u32", "in">;
    }>> & {
        op: number;
    };
    DESTROY: Command<Sized<{
        readonly id: Field<"u32", "in">;
    }>>;
    IOAS_ALLOC: Command<Sized<{
        readonly flags: Field<"u32", "in?">;
        readonly outIoasId: Field<"u32", "out">;
    }>>;
    IOAS_ALLOW_IOVAS: Command<Sized<{
        readonly ioasId: Field<"u32", "in">;
        readonly numIovas: Field<"u32", "in">;
        readonly reserved: Field<"u32", "reserved">;
        readonly allowedIovas: Field<"u64", "in">;
    }>>;
    IOAS_COPY: Command<Sized<{
        readonly flags: Field<"u32", "in">;
        readonly dstIoasId: Field<"u32", "in">;
        readonly srcIoasId: Field<"u32", "in">;
        readonly length: Field<"u64", "in">;
        readonly dstIova: Field<"u64", "io">;
        readonly srcIova: Field<"u64", "in">;
    }>>;
    IOAS_IOVA_RANGES: Command<Sized<{
        readonly ioasId: Field<"u32", "in">;
        readonly numIovas: Field<"u32", "io">;
        readonly reserved: Field<"u32", "reserved">;
        readonly allowedIovas: Field<"u64", "in">;
        readonly outIovaAlignment: Field<"u64", "out">;
    }>>;
    IOAS_MAP: Command<Sized<{
        readonly flags: Field<"u32", "in">;
        readonly ioasId: Field<"u32", "in">;
        readonly reserved: Field<"u32", "reserved">;
        readonly userVa: Field<"u64", "in">;
        readonly length: Field<"u64", "in">;
        readonly iova: Field<"u64", "io">;
    }>>;
    IOAS_UNMAP: Command<Sized<{
        readonly ioasId: Field<"u32", "in">;
        readonly iova: Field<"u64", "in">;
        readonly length: Field<"u64", "io">;
    }>>;
    OPTION: Command<Sized<{
        readonly optionId: Field<"u32", "in">;
        readonly op: Field<"u16", "in">;
        readonly reserved: Field<"u16", "reserved">;
        readonly objectId: Field<"u32", "in?">;
        readonly val64: Field<"u64", "io">;
    }>>;
    VFIO_IOAS: Command<Sized<{
        readonly ioasId: Field<"u32", "io">;
        readonly op: Field<"u16", "in">;
        readonly reserved: Field<"u16", "reserved">;
    }>>;
    HWPT_ALLOC: Command<Sized<{
        readonly flags: Field<"u32", "in">;
        readonly devId: Field<"u32", "in">;
        readonly ptId: Field<"u32", "in">;
        readonly outHwptId: Field<"u32", "out">;
        readonly reserved: Field<"u32", "reserved">;
        readonly dataType: Field<"u32", "in?">;
        readonly dataLen: Field<"u32", "in?">;
        readonly dataUptr: Field<"u64", "in?">;
        readonly faultId: Field<"u32", "in?">;
        readonly reserved2: Field<"u32", "ignored">;
    }>>;
    GET_HW_INFO: Command<Sized<{
        readonly flags: Field<"u32", "in?">;
        readonly devId: Field<"u32", "in">;
        readonly dataLen: Field<"u32", "io">;
        readonly dataUptr: Field<"u64", "in">;
        readonly outDataType: Field<"u32", "out">;
        readonly outMaxPasidLog2: Field<"u8", "out">;
        readonly reserved: Field<"u8", "reserved">;
        readonly outCapabilities: Field<"u64", "out">;
    }>>;
    HWPT_SET_DIRTY_TRACKING: Command<Sized<{
        readonly flags: Field<"u32", "in">;
        readonly hwptId: Field<"u32", "in">;
        readonly reserved: Field<"u32", "ignored">;
    }>>;
    HWPT_GET_DIRTY_BITMAP: Command<Sized<{
        readonly hwptId: Field<"u32", "in">;
        readonly flags: Field<"u32", "in?">;
        readonly reserved: Field<"u32", "reserved">;
        readonly iova: Field<"u64", "in">;
        readonly length: Field<"u64", "in">;
        readonly pageSize: Field<"u64", "in">;
        readonly data: Field<"u64", "in">;
    }>>;
    HWPT_INVALIDATE: Command<Sized<{
        readonly hwptId: Field<"u32", "in">;
        readonly dataUptr: Field<"u64", "in">;
        readonly dataType: Field<"u32", "in">;
        readonly entryLen: Field<"u32", "in">;
        readonly entryNum: Field<"u32", "io">;
        readonly reserved: Field<"u32", "reserved">;
    }>>;
    FAULT_QUEUE_ALLOC: Command<Sized<{
        readonly flags: Field<"u32", "in?">;
        readonly outFaultId: Field<"u32", "out">;
        readonly outFaultFd: Field<"u32", "out">;
    }>>;
    IOAS_MAP_FILE: Command<Sized<{
        readonly flags: Field<"u32", "in">;
        readonly ioasId: Field<"u32", "in">;
        readonly fd: Field<"s32", "in">;
        readonly start: Field<"u64", "in">;
        readonly length: Field<"u64", "in">;
        readonly iova: Field<"u64", "io">;
    }>>;
    VIOMMU_ALLOC: Command<Sized<{
        readonly flags: Field<"u32", "in?">;
        readonly type: Field<"u32", "in">;
        readonly devId: Field<"u32", "in">;
        readonly hwptId: Field<"u32", "in">;
        readonly outViommuId: Field<"u32", "out">;
        readonly dataLen: Field<"u32", "in?">;
        readonly reserved: Field<"u32", "ignored">;
        readonly dataUptr: Field<"u64", "in?">;
    }>>;
    VDEVICE_ALLOC: Command<Sized<{
        readonly viommuId: Field<"u32", "in">;
        readonly devId: Field<"u32", "in">;
        readonly outVdeviceId: Field<"u32", "out">;
        readonly virtId: Field<"u64", "in">;
    }>>;
    IOAS_CHANGE_PROCESS: Command<Sized<{
        readonly reserved: Field<"u32", "reserved">;
    }>>;
    VEVENTQ_ALLOC: Command<Sized<{
        readonly flags: Field<"u32", "in?">;
        readonly viommuId: Field<"u32", "in">;
        readonly type: Field<"u32", "in">;
        readonly veventqDepth: Field<"u32", "in">;
        readonly outVeventqId: Field<"u32", "out">;
        readonly outVeventqFd: Field<"u32", "out">;
        readonly reserved: Field<"u32", "reserved">;
    }>>;
    HW_QUEUE_ALLOC: Command<Sized<{
        readonly flags: Field<"u32", "in?">;
        readonly viommuId: Field<"u32", "in">;
        readonly type: Field<"u32", "in">;
        readonly index: Field<"u32", "in">;
        readonly outHwQueueId: Field<"u32", "out">;
        readonly nestingParentIova: Field<"u64", "in">;
        readonly length: Field<"u64", "in">;
    }>>;
    IOAS_NOIOMMU_GET_PA: Command<Sized<{
        readonly flags: Field<"u32", "in?">;
        readonly ioasId: Field<"u32", "in">;
        readonly reserved: Field<"u32", "in?">;
        readonly iova: Field<"u64", "in">;
        readonly length: Field<"u64", "io">;
        readonly outPhys: Field<"u64", "out">;
    }>>;
}>;
type CommandName = keyof typeof COMMANDS;
type FieldsOf<N extends CommandName> = (typeof COMMANDS)[N]["struct"]["fields"];
type CommandFields<N extends CommandName> = Decoded<FieldsOf<N>>;
type CommandInput<N extends CommandName> = Encodable<FieldsOf<N>>;
interface DeviceMmapRequest {
    readonly offset: U64Input;
    readonly length: U64Input;
    readonly shared: boolean;
    readonly executable?: boolean | undefined;
}
declare class DeviceMapping {
    #private;
    readonly bytes: Uint8Array;
    unmap(): Promise<void>;
}
interface IommufdDeviceOptions extends DeviceCaller {
    readonly memory: UserMemory;
    readonly commands?: DeviceCommands | undefined;
    readonly accounting?: ContextAccounting | undefined;
    readonly noIommu?: boolean | undefined;
    readonly profile?: ProfileName | undefined;
}
declare class IommufdDevice implements AsyncDisposable {
    #private;
    readonly iommufd: Iommufd;
    constructor(options: IommufdDeviceOptions);
    get profile(): Profile;
    ioctl(request: number, arg: U64Input, file?: number | null, caller?: DeviceCaller): Promise<number>;
    mmap(request: DeviceMmapRequest): DeviceMapping | number;
    closeFile(file: number): Promise<number>;
    close(): Promise<void>;
    [Symbol.asyncDispose](): Promise<void>;
    check(): void;
}
declare function encode<N extends CommandName>(command: N, fields: CommandInput<N>): Uint8Array;
declare function decode<N extends CommandName>(command: N, bytes: Uint8Array): CommandFields<N>;
declare class FileTable {
    #private;
    constructor(most?: number);
    open(file: CallerFile): number;
    get(fd: number): CallerFile | undefined;
    close(fd: number): void;
    fork(): FileTable;
}
declare function encodeRanges(ranges: readonly {
    readonly start: U64Input;
    readonly last: U64Input;
}[]): Uint8Array;
declare function decodeRanges(bytes: Uint8Array, count: number): {
    start: bigint;
    last: bigint;
}[];
declare const VFIO_REQUEST: Readonly<{
    readonly GET_API_VERSION: 15204;
    readonly CHECK_EXTENSION: 15205;
    readonly SET_IOMMU: 15206;
}>;
declare const INFO: Struct<{
    readonly argsz: Field<"u32", "size">;
} & {
    readonly flags: Field<"u32", "out">;
    readonly iovaPgsizes: Field<"u64", "out">;
    readonly capOffset: Field<"u32", "out">;
    readonly pad: Field<"u32", "ignored">;
}>;
interface UnknownVfioCapability {
    readonly id: "unknown";
    readonly number: number;
    readonly version: number;
    readonly offset: number;
    readonly next: number;
}
interface DecodedVfioInfo extends Decoded<typeof INFO.fields> {
    readonly capabilities: readonly (VfioCapability | UnknownVfioCapability)[];
}
declare function decodeVfioInfo(bytes: Uint8Array): DecodedVfioInfo;
interface ServerCapabilities {
    readonly maxMessageDescriptors: number;
    readonly maxDataTransfer: number;
    readonly writeMultiple: boolean;
    readonly migrationPageSize: number;
}
declare const COMMAND: Readonly<{
    readonly VERSION: 1;
    readonly DMA_MAP: 2;
    readonly DMA_UNMAP: 3;
    readonly DEVICE_GET_INFO: 4;
    readonly DEVICE_GET_REGION_INFO: 5;
    readonly DEVICE_GET_REGION_IO_FDS: 6;
    readonly DEVICE_GET_IRQ_INFO: 7;
    readonly DEVICE_SET_IRQS: 8;
    readonly REGION_READ: 9;
    readonly REGION_WRITE: 10;
    readonly DMA_READ: 11;
    readonly DMA_WRITE: 12;
    readonly DEVICE_RESET: 13;
    readonly REGION_WRITE_MULTI: 15;
    readonly DEVICE_FEATURE: 16;
    readonly MIG_DATA_READ: 17;
    readonly MIG_DATA_WRITE: 18;
}>;
declare const HEADER: Struct<{
    readonly id: Field<"u16", "in">;
    readonly command: Field<"u16", "in">;
    readonly size: Field<"u32", "in">;
    readonly flags: Field<"u32", "in">;
    readonly error: Field<"u32", "in?">;
}>;
declare const DEVICE_FLAG: Readonly<{
    readonly RESET: 1;
    readonly PCI: 2;
}>;
declare const REGION: Readonly<{
    readonly BAR0: 0;
    readonly BAR5: 5;
    readonly ROM: 6;
    readonly CONFIG: 7;
    readonly VGA: 8;
}>;
declare const REGION_FLAG: Readonly<{
    readonly READ: 1;
    readonly WRITE: 2;
    readonly MMAP: 4;
    readonly CAPS: 8;
}>;
declare const IRQ: Readonly<{
    readonly INTX: 0;
    readonly MSI: 1;
    readonly MSIX: 2;
    readonly ERR: 3;
    readonly REQ: 4;
}>;
declare const IRQ_FLAG: Readonly<{
    readonly EVENTFD: 1;
    readonly MASKABLE: 2;
    readonly AUTOMASKED: 4;
    readonly NORESIZE: 8;
}>;
declare const FEATURE_FLAG: Readonly<{
    readonly GET: 65536;
    readonly SET: 131072;
    readonly PROBE: 262144;
}>;
declare const FEATURE: Readonly<{
    readonly MIGRATION: 1;
    readonly MIG_DEVICE_STATE: 2;
    readonly DMA_LOGGING_START: 6;
    readonly DMA_LOGGING_STOP: 7;
    readonly DMA_LOGGING_REPORT: 8;
}>;
declare const MIG_STATE: Readonly<{
    readonly ERROR: 0;
    readonly STOP: 1;
    readonly RUNNING: 2;
    readonly STOP_COPY: 3;
    readonly RESUMING: 4;
    readonly RUNNING_P2P: 5;
    readonly PRE_COPY: 6;
    readonly PRE_COPY_P2P: 7;
}>;
type Header = Decoded<typeof HEADER.fields>;
interface Message {
    readonly header: Header;
    readonly payload: Uint8Array;
    readonly descriptors: readonly number[];
}
interface TransportListener {
    message(message: Message): void;
    closed(error: Error | undefined): void;
}
interface Transport {
    readonly passesDescriptors: boolean;
    readonly unsent: number;
    listen(listener: TransportListener): void;
    send(parts: readonly Uint8Array[], descriptors?: readonly number[]): void;
    pause(): void;
    resume(): void;
    drained(callback: () => void): void;
    close(error?: Error): void;
}
interface Acceptor {
    close(): Promise<void>;
}
interface FrameLimits {
    readonly maxMessageSize: number;
}
interface MappedFile {
    readonly bytes: Uint8Array;
    unmap(): void;
}
interface GuestRange {
    readonly uptr: bigint;
    release(): void;
}
interface GuestMemory {
    readonly memory: UserMemory;
    map(descriptor: number, offset: bigint, length: bigint, writable: boolean): GuestRange;
    close(): void;
}
interface DescriptorSupport {
    listen(path: string, limits: FrameLimits, accept: (transport: Transport) => void): Promise<Acceptor>;
    connect(path: string, limits: FrameLimits): Promise<Transport>;
    map(descriptor: number, length: number, writable: boolean): MappedFile;
    createMemory(length: number): number;
    guestMemory(): GuestMemory;
    createEventfd(): number;
    isEventfd(descriptor: number): boolean;
    signal(descriptor: number): void;
    takeCount(descriptor: number): bigint;
    watch(descriptor: number, signalled: () => void): () => void;
    close(descriptor: number): void;
}
type InterruptHandler = (vector: number, times: number) => void;
interface ClientRam {
    readonly bytes: Uint8Array;
    readonly descriptor: number | undefined;
}
interface Reply {
    readonly payload: Uint8Array;
    readonly descriptors: readonly number[];
}
interface ClientOptions {
    readonly descriptors?: "auto" | "always" | "never" | undefined;
    readonly timeout?: number | undefined;
    readonly dmaWhileWaiting?: boolean | undefined;
}
interface DeviceInfo {
    readonly flags: number;
    readonly regions: number;
    readonly interrupts: number;
}
interface MappableArea {
    readonly offset: bigint;
    readonly size: bigint;
}
interface RegionInfo {
    readonly index: number;
    readonly flags: number;
    readonly size: bigint;
    readonly offset: bigint;
    readonly areas: readonly MappableArea[];
}
interface MappedArea {
    readonly offset: bigint;
    readonly bytes: Uint8Array;
}
interface InterruptInfo {
    readonly index: number;
    readonly flags: number;
    readonly count: number;
}
interface RegionWrite {
    readonly region: number;
    readonly offset: U64Input;
    readonly data: Uint8Array;
}
interface DmaMapping {
    readonly iova: U64Input;
    readonly ram: ClientRam;
    readonly offset?: U64Input | undefined;
    readonly length?: U64Input | undefined;
    readonly prot?: Protection | undefined;
    readonly byMessage?: boolean | undefined;
}
interface ClientEvents {
    msi: [
        address: bigint,
        data: number
    ];
    close: [
        error: Error | undefined
    ];
}
declare class VfioUserClient extends EventEmitter<ClientEvents> implements AsyncDisposable {
    #private;
    static connect(path: string, options?: ClientOptions): Promise<VfioUserClient>;
    static over(transport: Transport, support: DescriptorSupport | undefined, options?: ClientOptions): Promise<VfioUserClient>;
    private constructor();
    get capabilities(): ServerCapabilities;
    get passesDescriptors(): boolean;
    request(command: number, parts: readonly Uint8Array[], descriptors?: readonly number[]): Promise<Reply>;
    deviceInfo(): Promise<DeviceInfo>;
    regionInfo(index: number): Promise<RegionInfo>;
    mapRegion(index: number): Promise<readonly MappedArea[]>;
    interruptInfo(index: number): Promise<InterruptInfo>;
    regionRead(region: number, offset: U64Input, count: number): Promise<Uint8Array>;
    regionWrite(region: number, offset: U64Input, data: Uint8Array): Promise<void>;
    regionPost(region: number, offset: U64Input, data: Uint8Array): void;
    regionPostMany(writes: readonly RegionWrite[]): void;
    regionWriteMany(writes: readonly RegionWrite[]): Promise<void>;
    allocate(length: number): ClientRam;
    dmaMap({ iova, ram, offset, length, prot, byMessage }: DmaMapping): Promise<void>;
    dmaUnmap(iova: U64Input, length: U64Input): Promise<void>;
    enableInterrupts(index: number, count: number, handler: InterruptHandler): Promise<void>;
    disableInterrupts(index: number): Promise<void>;
    maskInterrupts(index: number, start?: number, count?: number): Promise<void>;
    unmaskInterrupts(index: number, start?: number, count?: number): Promise<void>;
    triggerInterrupts(index: number, start: number, count: number): Promise<void>;
    reset(): Promise<void>;
    hasFeature(feature: number, flags: number): Promise<boolean>;
    migrationFlags(): Promise<bigint>;
    migrationState(): Promise<number>;
    setMigrationState(state: number): Promise<void>;
    readMigrationData(most: number): Promise<Uint8Array>;
    writeMigrationData(data: Uint8Array): Promise<void>;
    startDirtyLogging(pageSize: U64Input, ranges?: readonly {
        readonly iova: U64Input;
        readonly length: U64Input;
    }[]): Promise<void>;
    stopDirtyLogging(): Promise<void>;
    dirtyPages(iova: U64Input, length: U64Input, pageSize: U64Input): Promise<Uint8Array>;
    close(): Promise<void>;
    [Symbol.asyncDispose](): Promise<void>;
}
interface DmaSegment {
    readonly iova: U64Input;
    readonly length: number;
}
declare class DeviceDma {
    #private;
    get table(): IoPagetable | undefined;
    read(iova: U64Input, target: Uint8Array, options?: Abortable): Promise<void>;
    write(iova: U64Input, source: Uint8Array, options?: Abortable): Promise<void>;
    readSync(iova: U64Input, target: Uint8Array): void;
    writeSync(iova: U64Input, source: Uint8Array): void;
    readList(segments: readonly DmaSegment[], target: Uint8Array, options?: Abortable): Promise<void>;
    writeList(segments: readonly DmaSegment[], source: Uint8Array, options?: Abortable): Promise<void>;
    pin(iova: U64Input, length: U64Input, options?: PinnedRangeOptions): Promise<PinnedRange>;
}
type AccessWidth = 1 | 2 | 4;
interface BarPart {
    readonly offset: number;
    readonly size: number;
}
type ReadHandler = (offset: number, width: AccessWidth) => number;
type WriteHandler = (offset: number, width: AccessWidth, value: number) => unknown;
interface BarOptions {
    readonly size: number;
    readonly kind?: "memory32" | "memory64" | "io" | undefined;
    readonly prefetchable?: boolean | undefined;
    readonly read?: ReadHandler | undefined;
    readonly write?: WriteHandler | undefined;
    readonly memory?: true | readonly BarPart[] | undefined;
}
interface MsiOptions {
    readonly vectors: number;
}
interface MsixOptions {
    readonly vectors: number;
    readonly bar: number;
    readonly tableOffset?: number | undefined;
    readonly pendingOffset?: number | undefined;
}
interface VendorCapability {
    readonly data: Uint8Array;
    readonly id?: number | undefined;
    readonly writable?: Uint8Array | undefined;
}
interface PciDeviceOptions {
    readonly vendor: number;
    readonly device: number;
    readonly class: number;
    readonly revision?: number | undefined;
    readonly subsystemVendor?: number | undefined;
    readonly subsystem?: number | undefined;
    readonly bars?: Readonly<Partial<Record<number, BarOptions>>> | undefined;
    readonly rom?: Uint8Array | undefined;
    readonly intx?: "A" | "B" | "C" | "D" | undefined;
    readonly msi?: MsiOptions | undefined;
    readonly msix?: MsixOptions | undefined;
    readonly express?: boolean | undefined;
    readonly powerManagement?: boolean | undefined;
    readonly capabilities?: readonly VendorCapability[] | undefined;
    readonly saveState?: (() => Uint8Array) | undefined;
    readonly loadState?: ((state: Uint8Array) => void) | undefined;
}
interface PciDeviceEvents {
    reset: [
    ];
    connect: [
    ];
    disconnect: [
        error: Error | undefined
    ];
    stop: [
    ];
    resume: [
    ];
    error: [
        error: unknown
    ];
}
declare class PciDevice extends EventEmitter<PciDeviceEvents> {
    #private;
    readonly dma: DeviceDma;
    constructor(options: PciDeviceOptions);
    get connected(): boolean;
    get busMaster(): boolean;
    interrupt(vector?: number): void;
    clearInterrupt(): void;
    barMemory(bar: number): Uint8Array;
    readConfig(offset: number, width: AccessWidth): number;
}
type RecordTarget = string | ((line: string) => void);
interface ServeOptions {
    readonly socket: string;
    readonly descriptors?: "auto" | "always" | "never" | undefined;
    readonly memoryPath?: string | undefined;
    readonly profile?: ProfileName | undefined;
    readonly record?: RecordTarget | undefined;
}
interface DeviceServer extends AsyncDisposable {
    readonly socket: string;
    readonly descriptors: boolean;
    close(): Promise<void>;
}
declare function serve(device: PciDevice, options: ServeOptions): Promise<DeviceServer>;
