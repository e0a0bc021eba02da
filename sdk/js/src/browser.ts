export { createClient } from './edge.js';
