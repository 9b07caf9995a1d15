/**
 * The test kit of io-pagetable: the kernel's test device, test domain, test access and what its test driver can
 * verify.
 */
export { AccessFiles } from './access-files.js';
export { type CheckMapRequest, checkMap, checkRefs, type PinRun, pagePins } from './checks.js';
export { createMemory, type TestRegion } from './create-memory.js';
export {
  type AccessPagesRequest,
  type AccessRwRequest,
  MOCK_ACCESS,
  MockAccess,
} from './mock-access.js';
export { MOCK_FLAGS, MockDevice, type MockDeviceOptions } from './mock-device.js';
export { MockDomain, type MockDomainOptions, type MockMapCall } from './mock-domain.js';
export { type MockDomainIds, TestDriver } from './test-driver.js';
