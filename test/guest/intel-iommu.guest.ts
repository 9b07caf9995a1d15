import { describeGuests } from './guests.js';

describeGuests('intel-iommu');
