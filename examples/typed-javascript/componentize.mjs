// Makes the component: node componentize.mjs FILE
import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const { component } = await componentize({
    sourcePath: 'app.js',
    witPath: 'wit',
    worldName: 'text',
    // Console, clocks and randomness stay.
    disableFeatures: ['http', 'fetch-event'],
});
await writeFile(process.argv[2], component);
