import { describeGuests } from './guests.js';

describeGuests('none');
