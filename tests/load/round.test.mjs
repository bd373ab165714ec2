// Tests the local run under a light load of a few seconds.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { LocalRun, root } from '../browser/local_run.mjs';

const autocannon = createRequire(join(root, '.tools/load/package.json'))('autocannon');

/**
 * Requests per second. The rate is low, so that the local run can answer all requests even on a
 * busy machine.
 */
const RATE = 50;
const SECONDS = 5;

let service;
before(async () => {
    service = new LocalRun(mkdtempSync(join(tmpdir(), 'load-')));
    await service.start();
});
after(async () => {
    await service.stop();
    rmSync(service.data, { recursive: true });
});

async function round(status, request) {
    const result = await autocannon({
        url: service.users,
        connections: 4,
        overallRate: RATE,
        amount: RATE * SECONDS,
        timeout: 30,
        ...request,
    });
    const { errors, timeouts, statusCodeStats } = result;
    assert.deepEqual(
        { errors, timeouts, statusCodeStats },
        { errors: 0, timeouts: 0, statusCodeStats: { [status]: { count: RATE * SECONDS } } },
    );
}

test('every create in a round of load creates a new user', async () => {
    await round(201, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        // Each request gets a different ID in place of [<id>].
        body: '{"username": "[<id>]"}',
        idReplacement: true,
    });
    const page = await fetch(`${service.users}?limit=1000`);
    assert.equal((await page.json()).length, RATE * SECONDS);
});

test('every list request in a round of load gets a page', async () => {
    await round(200, {});
});
