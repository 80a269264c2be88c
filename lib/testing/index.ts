export { ManualClock } from '../time/clock'
