/**
 * Lets a child process of a test, and its worker threads, import the TypeScript sources:
 * `node --import ./ts-loader.mjs`.
 */
import { register } from 'node:module';

register('./ts-hooks.mjs', import.meta.url);
