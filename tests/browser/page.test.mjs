// Tests the local run's web page in a real browser, against a real local run.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { launch, load, withPage } from './browser.mjs';
import { LocalRun } from './local_run.mjs';

const axe = readFileSync(load.resolve('axe-core/axe.min.js'), 'utf8');

const REFUSED = /^Failed to load resource: the server responded with a status of 4\d\d/;
const UNREACHABLE = /^Failed to load resource: net::ERR_/;

const NARROW = { width: 375, height: 812 };

let data;
let run;
let browser;

before(async () => {
    data = mkdtempSync(join(tmpdir(), 'page-'));
    run = new LocalRun(data);
    await run.start();
    browser = await launch();
});

after(async () => {
    await browser?.close();
    await run?.stop();
    rmSync(data, { recursive: true, force: true });
});

function onPage(options, test) {
    const allowed = [`${run.page}/`, `${run.users}`, 'data:'];
    return withPage(browser, { allowed, ...options }, async (page) => {
        await page.goto(run.page);
        return test(page, parts(page));
    });
}

function parts(page) {
    return {
        username: page.getByRole('textbox', { name: 'Username', exact: true }),
        signUp: page.getByRole('button', { name: 'Sign up' }),
        availability: page.locator('#availability'),
        refusal: page.locator('#refusal'),
        prefix: page.getByRole('searchbox', { name: 'Usernames that begin with' }),
        rows: page.getByRole('table', { name: 'Everybody' }).getByRole('rowheader'),
        position: page.locator('#position'),
        previous: page.getByRole('button', { name: 'Previous' }),
        next: page.getByRole('button', { name: 'Next' }),
        offline: page.locator('#offline'),
    };
}

/** Waits for this text. Ignores U+2068 and U+2069, which the page puts around names. */
async function says(locator, text) {
    const said = async () => (await locator.textContent()).replace(/[\u2068\u2069]/g, '');
    await eventually(async () => assert.equal(await said(), text));
}

async function lists(rows, usernames) {
    await eventually(async () => assert.deepEqual(await rows.allTextContents(), usernames));
}

async function eventually(check) {
    for (const started = Date.now(); ; ) {
        try {
            return await check();
        } catch (error) {
            if (Date.now() - started > 10_000) throw error;
            await new Promise((resolve) => setTimeout(resolve, 20));
        }
    }
}

/**
 * Delays the page's list requests with this prefix by one second. `asked` resolves with the first
 * such request, and `answered` 1.5 seconds later, when the response should have arrived.
 */
async function delayed(page, prefix) {
    const isIt = (url) => url.searchParams.get('prefix') === prefix;
    const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
    const asked = page.waitForRequest((request) => isIt(new URL(request.url())));
    const answered = asked.then(() => pause(1500));
    await page.route(isIt, async (route) => {
        await pause(1000);
        // The page may have canceled the request.
        await route.continue().catch(() => {});
    });
    return { asked, answered };
}

const hasFocus = (locator) => locator.evaluate((element) => element === document.activeElement);

test('a person signs up a username that is free', async () => {
    await onPage({}, async (page, { username, signUp, availability, refusal, prefix, rows }) => {
        await prefix.fill('grete');
        await username.fill('grete');
        await says(availability, '“grete” is not taken.');
        await signUp.click();
        await says(availability, '“grete” has signed up.');
        await says(refusal, '');
        await lists(rows, ['grete']);
        assert.equal(await username.inputValue(), '');
        assert(await hasFocus(username));
    });
    assert.deepEqual(await run.list('grete'), ['grete']);
});

test('while a person types a username, the page says whether it is taken', async () => {
    await run.create('taken', 'Ὀδυσσέα', 'ｶﾞｽ', 'Dvořák'.normalize('NFD'));
    await onPage({}, async (page, { username, availability }) => {
        for (const name of ['taken', 'TAKEN', 'ｔａｋｅｎ', 'ὈΔΥΣΣΈΑ', 'ガス', 'ｶﾞｽ', 'dvořák']) {
            await username.fill(name);
            await says(availability, `“${name}” is taken.`);
        }
        for (const name of ['take', 'takens', 'taken2', 'Ὀδυσσέ', 'ガ', 'dvora']) {
            await username.fill(name);
            await says(availability, `“${name}” is not taken.`);
        }
        // A late answer about one name must not change what the page says about another name.
        const late = await delayed(page, 'late');
        await username.fill('late');
        await late.asked;
        await username.fill('taken');
        await says(availability, '“taken” is taken.');
        await late.answered;
        await says(availability, '“taken” is taken.');
    });
});

test('a username that somebody else took in the meantime is refused with the reason', async () => {
    await onPage({ complaints: [REFUSED] }, async (page, { username, signUp, availability, refusal }) => {
        await username.fill('meanwhile');
        await says(availability, '“meanwhile” is not taken.');
        await run.create('MeanWhile');
        await signUp.click();
        await says(
            refusal,
            'Another user has this username, or one that differs from it only in case or width. ' +
                'Choose another one.',
        );
        await says(availability, '');
        assert.equal(await username.getAttribute('aria-invalid'), 'true');
        assert.equal(await username.inputValue(), 'meanwhile');
        assert(await hasFocus(username));
        await username.fill('meanwhile2');
        await says(refusal, '');
        assert.equal(await username.getAttribute('aria-invalid'), null);
    });
});

test('a username that is not allowed is refused with the reason that the API gives', async () => {
    await onPage({ complaints: [REFUSED] }, async (page, { username, refusal }) => {
        const reasons = new Set();
        for (const name of ['no spaces', 'раypal', '1אבג', '♚']) {
            const { errors } = await (await run.tryCreate(name)).json();
            await username.fill(name);
            await username.press('Enter');
            await says(refusal, errors[0].detail);
            reasons.add(errors[0].code);
        }
        assert.deepEqual([...reasons], ['disallowed-character', 'mixed-scripts', 'bidi']);
    });
});

test('the page itself refuses an empty username and one that is too long', async () => {
    await onPage({}, async (page, { username, signUp, availability, refusal }) => {
        await eventually(async () => assert.notEqual(await page.locator('#position').textContent(), ''));
        const requests = [];
        page.on('request', (request) => requests.push(request.url()));
        const empty = 'The username is empty; it needs 1 to 80 characters.';
        await signUp.click();
        await says(refusal, empty);
        for (const [name, length] of [['a'.repeat(81), 81], ['𐐷'.repeat(100), 100]]) {
            const message = `The username has ${length} characters; at most 80 are allowed.`;
            await username.fill(name);
            await says(availability, message);
            await signUp.click();
            await says(refusal, message);
        }
        await username.fill('');
        await says(availability, empty);
        assert.deepEqual(requests, []);
        // NFC composes these 160 code points into 80 characters.
        await username.fill('e\u0301'.repeat(80));
        await says(availability, `“${'e\u0301'.repeat(80)}” is not taken.`);
    });
});

test('a person can read the list page by page, to its end and back', async () => {
    const names = Array.from({ length: 25 }, (_, number) => `paged${String(number).padStart(2, '0')}`);
    await run.create(...names);
    await onPage({}, async (page, { prefix, rows, position, previous, next }) => {
        const ariaDisabled = (button) => button.getAttribute('aria-disabled');
        await prefix.fill('PAGED');
        const pages = [
            [names.slice(0, 10), 'Users 1 to 10', 'true', 'false'],
            [names.slice(10, 20), 'Users 11 to 20', 'false', 'false'],
            [names.slice(20), 'Users 21 to 25', 'false', 'true'],
        ];
        const shows = async ([usernames, text, first, last]) => {
            await lists(rows, usernames);
            await says(position, text);
            assert.equal(await ariaDisabled(previous), first);
            assert.equal(await ariaDisabled(next), last);
        };
        await shows(pages[0]);
        await next.click();
        await shows(pages[1]);
        await next.click();
        await shows(pages[2]);
        assert(await hasFocus(next));
        // On the last page, Next does nothing.
        await next.click({ force: true });
        await shows(pages[2]);
        await previous.click();
        await shows(pages[1]);
        await previous.click();
        await shows(pages[0]);
    });
});

test('a person can filter the list by the beginning of a username', async () => {
    await run.create('Filtered', 'filter', 'fil');
    await onPage({ complaints: [REFUSED] }, async (page, { prefix, rows, position }) => {
        await prefix.fill('FILT');
        await lists(rows, ['filter', 'Filtered']);
        await says(position, 'Users 1 to 2');
        await prefix.fill('filtered');
        await lists(rows, ['Filtered']);
        await says(position, 'User 1');
        await prefix.fill('filters');
        await lists(rows, []);
        await says(position, 'No username begins with “filters”.');
        await prefix.fill('f'.repeat(81));
        await says(position, 'The prefix has 81 characters; at most 80 are allowed.');
        // A late response for an earlier prefix must not replace the list for the current prefix.
        const late = await delayed(page, 'filtered');
        await prefix.fill('filtered');
        await late.asked;
        await prefix.fill('fil');
        await lists(rows, ['fil', 'filter', 'Filtered']);
        await late.answered;
        await lists(rows, ['fil', 'filter', 'Filtered']);
    });
});

test('the page shows every username as text, even one that looks like HTML', async () => {
    const markup = '<img/src=x/onerror=document.body.remove()>';
    await run.create('שלום');
    await onPage({}, async (page, { username, availability, prefix, rows }) => {
        await username.fill(markup);
        await says(availability, `“${markup}” is not taken.`);
        await username.press('Enter');
        await says(availability, `“${markup}” has signed up.`);
        await prefix.fill('<IMG');
        await lists(rows, [markup]);
        await username.fill(markup);
        await says(availability, `“${markup}” is taken.`);
        await prefix.fill('<img>');
        await says(page.locator('#position'), 'No username begins with “<img>”.');
        assert.equal(await page.locator('img').count(), 0);

        // A right-to-left name must not reorder the text around it.
        await prefix.fill('של');
        await lists(rows, ['שלום']);
        assert.equal(await rows.locator('bdi').count(), 1);
        await username.fill('שלום');
        await says(availability, '“שלום” is taken.');
        assert.equal(await availability.textContent(), '“\u2068שלום\u2069” is taken.');
    });
});

test('the page says when the API cannot be reached, and when it can be reached again', async () => {
    await run.create('offline');
    await onPage({ complaints: [UNREACHABLE] }, async (page, { offline, prefix, rows, ...rest }) => {
        const { username, availability, refusal } = rest;
        await prefix.fill('offline');
        await lists(rows, ['offline']);
        await says(offline, '');
        await run.stop();
        await username.fill('offline2');
        await says(offline, 'The API can’t be reached. Is “make run” still running? Trying again …');
        await says(availability, '');
        await username.press('Enter');
        await says(
            refusal,
            'The API did not answer. Sign up again later. The second attempt never creates a second user.',
        );
        assert.equal(await username.inputValue(), 'offline2');
        await run.start();
        await says(offline, '');
        await username.press('Enter');
        await says(availability, '“offline2” has signed up.');
        await says(refusal, '');
        await lists(rows, ['offline', 'offline2']);
    });
});

test('a sign-up whose answer was lost succeeds when it is sent again', async () => {
    await onPage({ complaints: [UNREACHABLE] }, async (page, { username, availability, refusal }) => {
        let lost = 0;
        await page.route(run.users, async (route) => {
            if (route.request().method() !== 'POST' || lost > 0) return route.continue();
            lost += 1;
            await route.fetch();
            return route.abort();
        });
        await username.fill('lost');
        await username.press('Enter');
        await says(
            refusal,
            'The API did not answer. Sign up again later. The second attempt never creates a second user.',
        );
        assert.deepEqual(await run.list('lost'), ['lost']);
        await username.press('Enter');
        await says(availability, '“lost” has signed up.');
        assert.equal(lost, 1);
    });
});

test('a name submitted while another sign-up runs is signed up after it', async () => {
    await onPage({}, async (page, { username, availability, prefix, rows }) => {
        await prefix.fill('queue-');
        let arrived;
        const arrival = new Promise((resolve) => (arrived = resolve));
        let letOn;
        const release = new Promise((resolve) => (letOn = resolve));
        await page.route(
            run.users,
            async (route) => {
                arrived();
                await release;
                await route.continue();
            },
            { times: 1 },
        );
        await username.fill('queue-first');
        await username.press('Enter');
        await arrival;
        await username.fill('queue-second');
        await username.press('Enter');
        await says(availability, 'Waiting for the answer about “queue-first” …');
        letOn();
        await says(availability, '“queue-second” has signed up.');
        await lists(rows, ['queue-first', 'queue-second']);
        assert.equal(await username.inputValue(), '');
    });
});

test('the answer to a sign-up is not shown for a name that was typed in the meantime', async () => {
    await run.create('sent-taken');
    const complaints = [REFUSED, UNREACHABLE];
    await onPage({ complaints }, async (page, { username, availability, refusal, prefix, rows }) => {
        await prefix.fill('sent-');
        await lists(rows, ['sent-taken']);
        const answers = {
            'sent-free': (route) => route.continue(),
            'sent-taken': (route) => route.continue(),
            'sent-lost': (route) => route.abort(),
        };
        for (const [name, answer] of Object.entries(answers)) {
            const typed = `${name}-other`;
            await page.route(run.users, async (route) => {
                await username.fill(typed);
                await says(availability, `“${typed}” is not taken.`);
                await answer(route);
            });
            const ended = page.waitForEvent(name === 'sent-lost' ? 'requestfailed' : 'requestfinished', {
                predicate: (request) => request.method() === 'POST',
            });
            await username.fill(name);
            await username.press('Enter');
            await ended;
            await page.unroute(run.users);
            // Gives the page time to handle the response, which must change nothing.
            await page.waitForTimeout(500);
            assert.equal(await refusal.textContent(), '', name);
            assert.equal(await username.getAttribute('aria-invalid'), null);
            assert.equal(await username.inputValue(), typed);
            await says(availability, `“${typed}” is not taken.`);
        }
        await lists(rows, ['sent-free', 'sent-taken']);
    });
});

test('if an answer gives no reason, the page shows its status', async () => {
    await onPage({ complaints: [/status of 500/] }, async (page, { username, availability, refusal }) => {
        for (const body of ['{}', '{"errors":[]}', 'null', '"text"', '<h1>Oh</h1>', '']) {
            await page.route(run.users, (route) => route.fulfill({
                status: 500,
                headers: { 'Access-Control-Allow-Origin': run.page },
                body,
            }));
            await username.fill('reasonless');
            await username.press('Enter');
            await says(refusal, 'The API answered 500.');
            await says(availability, '');
            await page.unroute(run.users);
        }
    });
});

test('the message for an empty list names the prefix that was requested', async () => {
    await onPage({}, async (page, { prefix, position }) => {
        await page.route(`${run.users}?*prefix=nobody`, async (route) => {
            // Changes the text without an input event, so that the page does not notice.
            await prefix.evaluate((element) => { element.value = 'nobody-else'; });
            await route.continue();
        });
        await prefix.fill('nobody');
        await says(position, 'No username begins with “nobody”.');
        assert.equal(await prefix.inputValue(), 'nobody-else');
    });
});

test('everything works with the keyboard alone', async () => {
    const names = Array.from({ length: 11 }, (_, number) => `keys${String.fromCharCode(97 + number)}`);
    await run.create(...names.slice(0, 10));
    await onPage({ complaints: [REFUSED] }, async (page, all) => {
        const { username, signUp, availability, refusal, prefix, rows, position, previous, next } = all;
        const { keyboard } = page;
        const tabTo = async (locator, key = 'Tab') => {
            await keyboard.press(key);
            assert(await hasFocus(locator), `${locator}`);
        };
        await tabTo(username);
        await keyboard.type('keysa');
        await says(availability, '“keysa” is taken.');
        await tabTo(signUp);
        await keyboard.press('Enter');
        await eventually(async () => assert.match(await refusal.textContent(), /^Another user has/));
        assert(await hasFocus(username));
        await keyboard.press('Backspace');
        await keyboard.type('k');
        await keyboard.press('Enter');
        await says(availability, '“keysk” has signed up.');
        await tabTo(signUp);
        await tabTo(prefix);
        await keyboard.type('keys');
        await lists(rows, names.slice(0, 10));
        await tabTo(previous);
        await tabTo(next);
        await keyboard.press('Space');
        await lists(rows, names.slice(10));
        await says(position, 'User 11');
        assert(await hasFocus(next));
        await tabTo(previous, 'Shift+Tab');
        await keyboard.press('Enter');
        await lists(rows, names.slice(0, 10));
        const outline = await previous.evaluate((element) => getComputedStyle(element).outlineStyle);
        assert.equal(outline, 'solid');
    });
});

test('axe finds no fault in the page, in light and dark mode, and the page fits a narrow screen', async () => {
    await run.create('axe', 'x'.repeat(80));
    for (const colorScheme of ['light', 'dark']) {
        for (const viewport of [NARROW, { width: 1280, height: 900 }]) {
            const options = { colorScheme, viewport, complaints: [REFUSED, UNREACHABLE] };
            await onPage(options, async (page, { username, availability, refusal, rows, ...rest }) => {
                const { prefix, position, offline } = rest;
                await prefix.fill('x');
                await lists(rows, ['x'.repeat(80)]);
                await hasNoFault(page, 'free', async () => {
                    await username.fill('axe2');
                    await says(availability, '“axe2” is not taken.');
                });
                await hasNoFault(page, 'taken and refused', async () => {
                    await username.fill('axe');
                    await says(availability, '“axe” is taken.');
                    await username.press('Enter');
                    await eventually(async () => assert.notEqual(await refusal.textContent(), ''));
                });
                await hasNoFault(page, 'nobody', async () => {
                    await prefix.fill('xy');
                    await says(position, 'No username begins with “xy”.');
                });
                await hasNoFault(page, 'unreachable', async () => {
                    await page.route(`${run.users}?**`, (route) => route.abort());
                    await prefix.fill('x');
                    await eventually(async () => assert.notEqual(await offline.textContent(), ''));
                });
            });
        }
    }
});

async function hasNoFault(page, state, reach) {
    await reach();
    // The page's Content-Security-Policy would block a script element with axe.
    const { violations, passes } = await page.evaluate(`${axe}; axe.run()`);
    const faults = violations.map(({ id, help, nodes }) => ({ id, help, in: nodes.map((it) => it.html) }));
    assert.deepEqual(faults, [], state);
    assert(passes.some(({ id }) => id === 'color-contrast'), 'contrasts were looked at');
    const { scrollWidth, clientWidth } = await page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        return { scrollWidth, clientWidth };
    });
    assert(scrollWidth <= clientWidth, `${state}: ${scrollWidth} > ${clientWidth}`);
}
