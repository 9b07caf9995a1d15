/** A set-up file: properties try the same values each time, so that a mutant that survives once survives always. */
import fc from 'fast-check';
import { propertyRuns } from './property-runs.js';

fc.configureGlobal({ seed: 20261122, numRuns: propertyRuns(100) });
