/** What the sweep goes through. */
import { IOMMUFD_SCENARIOS } from './iommufd-scenarios.js';
import { type Scenario, TABLE_SCENARIOS } from './table-scenarios.js';

/** All scenarios. */
export const SCENARIOS: readonly Scenario[] = [...TABLE_SCENARIOS, ...IOMMUFD_SCENARIOS];
