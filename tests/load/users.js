// k6 (https://k6.io) load for a deployment: nine list requests for each create, at a rate that does not depend
// on the speed of the answers. docs/load.md says how to run it and what to watch.

import { check, fail } from 'k6';
import encoding from 'k6/encoding';
import http from 'k6/http';

const { API_URL, TOKEN_ENDPOINT, CLIENT_ID, CLIENT_SECRET, RATE = '10', DURATION = '5m' } = __ENV;

/** Requests a second: lists and creates together. */
const rate = Number(RATE);

/**
 * Starts at a tenth of the rate, rises for a minute, and then stays at the full rate.
 * @returns {import('k6/options').RampingArrivalRateScenario}
 */
const arrivals = (share) => ({
    executor: 'ramping-arrival-rate',
    timeUnit: '10s',
    startRate: Math.ceil(rate * share),
    stages: [
        { target: Math.ceil(rate * share * 10), duration: '1m' },
        { target: Math.ceil(rate * share * 10), duration: DURATION },
    ],
    preAllocatedVUs: Math.ceil(rate / 10) + 1,
    // These are enough even if each request takes four seconds, the longest that a function waits for its table.
    maxVUs: Math.ceil(rate * 4) + 10,
});

/** @type {import('k6/options').Options} */
export const options = {
    scenarios: {
        creates: { ...arrivals(0.1), exec: 'create' },
        lists: { ...arrivals(0.9), exec: 'list' },
    },
    thresholds: {
        // An alarm has the same limit for failures, and the dashboard shows the same percentile of the times.
        http_req_failed: ['rate<0.01'],
        'http_req_duration{scenario:creates}': ['p(99)<500'],
        'http_req_duration{scenario:lists}': ['p(99)<500'],
        // If k6 drops more iterations, k6 itself is too slow.
        dropped_iterations: ['rate<0.01'],
    },
};

/** Returns the headers of all requests. If TOKEN_ENDPOINT is set, they hold one token of the machine client. */
export function setup() {
    if (!API_URL) fail('Set API_URL to the stack output of this name, with --env API_URL=https://...');
    if (!TOKEN_ENDPOINT) return { Accept: 'application/json' };
    const client = encoding.b64encode(`${CLIENT_ID}:${CLIENT_SECRET}`);
    const response = http.post(
        TOKEN_ENDPOINT,
        { grant_type: 'client_credentials', scope: 'users/read users/write' },
        { headers: { Authorization: `Basic ${client}` } },
    );
    if (response.status !== 200) fail(`The login answers ${response.status}. Check CLIENT_ID and CLIENT_SECRET.`);
    return { Authorization: `Bearer ${response.json('access_token')}` };
}

/** Creates a user with a random name, because DynamoDB never splits an item collection whose keys only increase. */
export function create(headers) {
    const username = `load-${Math.random().toString(36).slice(2)}`;
    const response = http.post(API_URL, JSON.stringify({ username }), {
        headers: { ...headers, 'Content-Type': 'application/json' },
    });
    check(response, { created: ({ status }) => status === 201 });
}

/** Lists the first page, which clients read most. */
export function list(headers) {
    const response = http.get(API_URL, { headers });
    check(response, { listed: ({ status }) => status === 200 });
}
