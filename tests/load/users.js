// A k6 (https://k6.io) script that sends load to a deployment: nine list requests for each create
// request. The rate does not depend on how fast the responses come. docs/load.md says how to run
// the script.

import { check, fail } from 'k6';
import encoding from 'k6/encoding';
import http from 'k6/http';

const { API_URL, TOKEN_ENDPOINT, CLIENT_ID, CLIENT_SECRET, RATE = '10', DURATION = '5m' } = __ENV;

/** List requests and create requests per second, together. */
const rate = Number(RATE);

/**
 * The load starts at a tenth of the full rate, rises to it within a minute, and stays there.
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
    // A virtual user sends one request at a time. `maxVUs`, the largest number of virtual users, is
    // enough even if each request takes four seconds, the longest time that a function waits for
    // its table.
    maxVUs: Math.ceil(rate * 4) + 10,
});

/** @type {import('k6/options').Options} */
export const options = {
    scenarios: {
        creates: { ...arrivals(0.1), exec: 'create' },
        lists: { ...arrivals(0.9), exec: 'list' },
    },
    thresholds: {
        // Less than 1 % of the requests may fail. An alarm of the stack also fires at 1 %, but
        // counts only 5xx responses.
        http_req_failed: ['rate<0.01'],
        // The 99th percentile must be below 500 ms. The stack's dashboard shows this percentile for
        // the API and for each function.
        'http_req_duration{scenario:creates}': ['p(99)<500'],
        'http_req_duration{scenario:lists}': ['p(99)<500'],
        // An iteration is one request. k6 drops iterations that it cannot start in time. If it
        // drops 1 %, the machine that runs k6 is too slow. The `rate` of a counter is per second
        // (https://grafana.com/docs/k6/latest/javascript-api/k6-metrics/counter/).
        dropped_iterations: [`rate<${rate / 100}`],
    },
};

/** Returns headers for all requests, with an access token if TOKEN_ENDPOINT is set. */
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

/**
 * Creates a user with a random name. With ascending names, DynamoDB would never split the item
 * collection.
 */
export function create(headers) {
    const username = `load-${Math.random().toString(36).slice(2)}`;
    const response = http.post(API_URL, JSON.stringify({ username }), {
        headers: { ...headers, 'Content-Type': 'application/json' },
    });
    check(response, { created: ({ status }) => status === 201 });
}

/** Lists the first page, which clients read most often. */
export function list(headers) {
    const response = http.get(API_URL, { headers });
    check(response, { listed: ({ status }) => status === 200 });
}
