/**
 * The test kit of io-pagetable: the kernel's test device, test domain, test access and what its test driver can
 * verify; and fault injection.
 */
export { FAULT_ERRORS, type FaultInjector, type FaultPoint } from '../faults.js';
export { AccessFiles, type AfterClose } from './access-files.js';
export { type CheckMapRequest, checkMap, checkRefs, type PinRun, pagePins } from './checks.js';
export { createMemory, type TestRegion } from './create-memory.js';
export { FaultCounter } from './fault-injector.js';
export {
  type AccessPagesRequest,
  type AccessRwRequest,
  MOCK_ACCESS,
  MockAccess,
} from './mock-access.js';
export { MOCK_FLAGS, MockDevice, type MockDeviceOptions, mockTableData } from './mock-device.js';
export { MockDomain, type MockDomainOptions } from './mock-domain.js';
export type { MockEntry, MockMapCall } from './mock-table.js';
export type { TestMemory } from './page-identity.js';
export { type FaultScenario, sweepFaults } from './sweep-faults.js';
export { type MockDomainIds, TestDriver } from './test-driver.js';
export { testCommands } from './uapi-test-commands.js';
