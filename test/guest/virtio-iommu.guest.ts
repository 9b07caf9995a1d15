import { describeGuests } from './guests.js';

describeGuests('virtio-iommu');
