// Opens hostile pages in a real browser. The pages attack the local run on the same machine.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, get } from 'node:http';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { launch, root, withPage } from './browser.mjs';
import { LocalRun } from './local_run.mjs';

const event = JSON.parse(readFileSync(join(root, 'harness/events/create_user.json'), 'utf8'));
event.body = JSON.stringify({ username: 'forged' });

let data;
let run;
let server;
let browser;

before(async () => {
    data = mkdtempSync(join(tmpdir(), 'hostile-'));
    run = new LocalRun(data);
    await run.start();
    await run.create('secret');
    server = await hostileServer(0);
    // Newer browsers stop requests to this machine from a page at a public address. The hostile
    // pages have no public address: their `.example` names resolve to this machine. So the browser
    // sends their requests, and the local run itself must refuse these requests.
    browser = await launch('--host-resolver-rules=MAP *.example 127.0.0.1');
});

after(async () => {
    await browser?.close();
    server?.close();
    await run?.stop();
    rmSync(data, { recursive: true, force: true });
});

async function hostileServer(port) {
    const server = createServer((_, response) => {
        response.setHeader('Content-Type', 'text/html').end('<title>Hostile</title>');
    });
    server.listen(Number(port), '127.0.0.1');
    await once(server, 'listening');
    return server;
}

/** Runs a test on a page that may load any URL and log any error. */
function onHostilePage(url, test) {
    return withPage(browser, { allowed: [''], complaints: [/^/] }, async (page) => {
        await page.goto(url);
        return test(page);
    });
}

async function hasHadNoEffect(name) {
    assert.deepEqual(await run.list('forged'), []);
    const started = Date.now();
    await run.create(name);
    assert.deepEqual(await run.list(name), [name]);
    // A hostile page may pose as a function: it takes an event and never answers it. The gateway
    // would then wait 30 seconds. So a fast response shows that no page has an event.
    assert(Date.now() - started < 20_000);
}

/**
 * Runs in a hostile page and attacks `origins`. Returns the attacks that succeeded: the page could
 * read a response, load an element (other than an iframe) or open a WebSocket.
 */
async function attack({ origins, event }) {
    const user = '{"username":"forged"}';
    const json = { 'Content-Type': 'application/json' };
    const invoke = '/2015-03-31/functions/create-user/invocations';
    const next = '/.rt/create-user/2018-06-01/runtime/invocation/next';
    const read = [];
    const note = (what, url) => read.push(`${what} ${url}`);
    const fiveSeconds = () => new Promise((resolve) => setTimeout(resolve, 5000));
    const withinFiveSeconds = (promise) => Promise.race([promise, fiveSeconds()]);

    const fetched = async (url, options) => {
        const answer = await fetch(url, options);
        if (answer.type !== 'opaque') note(options.method ?? 'GET', url);
    };
    /**
     * Submits a form. With the `enctype` text/plain, a browser sends the field's name, an equals
     * sign and the field's value. Together, these three are a JSON object, with the equals sign in
     * a string.
     */
    const submitted = (url, body, enctype) => new Promise((done) => {
        const sink = document.body.appendChild(document.createElement('iframe'));
        sink.name = `sink${Math.random()}`;
        const form = document.body.appendChild(document.createElement('form'));
        Object.assign(form, { action: url, method: 'POST', enctype, target: sink.name });
        const field = form.appendChild(document.createElement('input'));
        field.name = `${body.slice(0, -1)},"x":"`;
        field.value = '"}';
        form.submit();
        sink.onload = done;
    });
    const loaded = (tag, attribute, url) => new Promise((done) => {
        const element = document.createElement(tag);
        element.onload = () => {
            if (tag !== 'iframe') note(tag, url);
            done();
        };
        element.onerror = done;
        element.rel = 'stylesheet';
        element[attribute] = url;
        document.body.append(element);
    });

    const tries = [];
    for (const origin of origins) {
        const users = `${origin}/api/users`;
        for (const mode of ['cors', 'no-cors']) {
            for (const url of [users, `${users}?prefix=secret`, `${origin}/`, `${origin}${next}`]) {
                tries.push(fetched(url, { mode }));
            }
            for (const [url, body] of [[users, user], [`${origin}${invoke}`, event]]) {
                tries.push(fetched(url, { mode, method: 'POST', body }));
                tries.push(fetched(url, { mode, method: 'POST', body, headers: json }));
                tries.push(fetched(url, { mode, method: 'POST', body: new Blob([body]) }));
            }
        }
        for (const enctype of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']) {
            tries.push(submitted(users, user, enctype));
            tries.push(submitted(`${origin}${invoke}`, event, enctype));
        }
        tries.push(navigator.sendBeacon(users, new Blob([user], { type: 'text/plain' })));
        tries.push(navigator.sendBeacon(`${origin}${invoke}`, event));
        for (const url of [users, `${origin}${next}`, `${origin}/page.js`, `${origin}/page.css`]) {
            tries.push(loaded('img', 'src', url));
            tries.push(loaded('script', 'src', url));
            tries.push(loaded('link', 'href', url));
            tries.push(loaded('object', 'data', url));
            tries.push(loaded('iframe', 'src', url));
        }
        tries.push(loaded('iframe', 'src', `${origin}/`));
        const socket = new WebSocket(`${origin.replace('http', 'ws')}/api/users`);
        socket.onopen = () => note('WebSocket', origin);
    }
    await withinFiveSeconds(Promise.allSettled(tries));
    return read;
}

test('a page of another origin cannot read, write, steal data or stop the service', async () => {
    const addresses = Object.values(networkInterfaces()).flat().map(({ address }) => address);
    const names = ['127.0.0.1', 'localhost', 'LOCALHOST', ...(addresses.includes('::1') ? ['[::1]'] : [])];
    const ports = [run.port, run.pagePort];
    const origins = names.flatMap((name) => ports.map((port) => `http://${name}:${port}`));
    const { port } = server.address();
    // The hostile page is at the local run's own host, then at another name of this machine, then
    // at another site.
    for (const [number, host] of ['127.0.0.1', 'localhost', 'hostile.example'].entries()) {
        await onHostilePage(`http://${host}:${port}`, async (page) => {
            const answers = [];
            page.on('response', (answer) => answers.push(answer));
            const input = { origins, event: JSON.stringify(event) };
            assert.deepEqual(await page.evaluate(attack, input), [], host);
            // Browsers send these requests without a preflight, so the gateway itself must refuse them.
            const sent = ['POST /api/users', 'POST /2015-03-31/functions/create-user/invocations',
                'GET /.rt/create-user/2018-06-01/runtime/invocation/next'];
            for (const name of names) {
                const of = answers.filter((answer) => answer.url().startsWith(`http://${name}:${run.port}/`.toLowerCase()));
                const requests = of.map((answer) => `${answer.request().method()} ${new URL(answer.url()).pathname}`);
                for (const request of sent) assert(requests.includes(request), `${request} to ${name}`);
                assert.deepEqual([...new Set(of.map((answer) => answer.status()))], [403], name);
            }
            // A frame that was removed counts as a frame without text.
            for (const frame of page.frames().slice(1)) {
                const text = await frame.evaluate(() => document.body.innerText).catch(() => '');
                assert(!text.includes('secret') && !text.includes('Sign up'), text);
            }
        });
        await hasHadNoEffect(`after${number}`);
    }
});

test('a page whose host name is rebound to this machine cannot read, write, steal data or stop the service', async () => {
    for (const port of [run.port, run.pagePort]) {
        // As in DNS rebinding, the attacker's server answers on this port until the page is open.
        // Then the local run answers on it.
        await run.stop();
        const attacker = await hostileServer(port);
        await onHostilePage(`http://rebound.example:${port}`, async (page) => {
            attacker.close();
            attacker.closeAllConnections();
            await once(attacker, 'close');
            await run.start();
            const statuses = await page.evaluate(async (event) => {
                const user = '{"username":"forged"}';
                const headers = { 'Content-Type': 'application/json' };
                const post = (url, body) => fetch(url, { method: 'POST', headers, body });
                const answers = await Promise.all([
                    fetch('/'),
                    fetch('/page.js'),
                    fetch('/api/users'),
                    post('/api/users', user),
                    post('/2015-03-31/functions/create-user/invocations', event),
                    fetch('/.rt/create-user/2018-06-01/runtime/invocation/next'),
                ]);
                return answers.map((answer) => answer.status);
            }, JSON.stringify(event));
            assert.deepEqual(statuses, Array(6).fill(421));
        });
    }
    await hasHadNoEffect('after-rebinding');
});

test('a person may follow a link to the API', async () => {
    const { port } = server.address();
    await onHostilePage(`http://hostile.example:${port}`, async (page) => {
        await page.setContent(`<a href="${run.users}">Users</a>`);
        await page.click('a');
        await page.waitForURL(run.users);
        assert((await page.textContent('body')).includes('"secret"'));
    });
});

/** Sends a request. Its headers may include a `Host` that a web page could not set. */
async function answerTo(url, { method = 'GET', ...headers }) {
    const request = get(url, { method, headers });
    const [answer] = await once(request, 'response');
    answer.setEncoding('utf8');
    answer.text = (await answer.toArray()).join('');
    return answer;
}

test('a request to another name of this machine is redirected to the page at 127.0.0.1', async () => {
    for (const path of ['/', '/page.js', '/page.css']) {
        const own = await answerTo(`${run.page}${path}`, { host: `127.0.0.1:${run.pagePort}` });
        assert.equal(own.statusCode, 200);
        assert.equal(own.headers['cross-origin-resource-policy'], 'same-origin');
        assert.equal(own.headers['x-content-type-options'], 'nosniff');
        const policy = own.headers['content-security-policy'];
        assert(policy.startsWith("default-src 'none'; ") && policy.includes("frame-ancestors 'none'"));
        for (const name of ['localhost', 'LOCALHOST', '[::1]']) {
            const host = `${name}:${run.pagePort}`;
            const { statusCode, headers } = await answerTo(`${run.page}${path}`, { host });
            assert.deepEqual([statusCode, headers.location], [307, run.page], host);
        }
        for (const host of [`rebound.example:${run.pagePort}`, 'rebound.example', '127.0.0.1', 'localhost']) {
            const { statusCode, headers } = await answerTo(`${run.page}${path}`, { host });
            assert.deepEqual([statusCode, headers.location], [421, undefined], host);
        }
        const posted = await answerTo(`${run.page}${path}`, { method: 'POST' });
        assert.equal(posted.statusCode, 405);
    }
    assert.equal((await answerTo(`${run.page}/other`, {})).statusCode, 404);
});
