// Checks the API reference that `make docs` builds, in a browser without network access.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { PATIENCE, launch, root, withPage } from './browser.mjs';

const file = join(root, 'docs/reference.html');
const url = pathToFileURL(file).href;
// The page builds its search index in workers, whose scripts are `blob:` URLs.
const alone = { allowed: [url, 'blob:', 'data:'], offline: true };

let browser;
let description;
let operations;

before(async () => {
    assert.equal(run('tools/docs'), `The reference is in ${file}\n`);
    const redocly = '.tools/openapi/node_modules/.bin/redocly';
    const bundle = ['bundle', 'openapi.yaml', '--dereferenced', '--ext', 'json'];
    const contract = JSON.parse(run(redocly, ...bundle));
    description = contract.info.description;
    operations = Object.entries(contract.paths).flatMap(([path, item]) =>
        Object.entries(item).map(([method, operation]) => ({ path, method, ...operation })),
    );
    browser = await launch();
});

after(() => browser?.close());

function run(program, ...args) {
    const env = { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' };
    return execFileSync(program, args, {
        cwd: root,
        env,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: PATIENCE,
    });
}

test('the reference shows every operation, its statuses and its examples', async () => {
    assert.equal(operations.length, 2);
    let shown = 0;
    for (const { path, method, operationId, summary, requestBody, responses } of operations) {
        await withPage(browser, alone, async (page) => {
            await page.goto(`${url}#/users/${operationId.toLowerCase()}`);
            const operation = page.locator(`[id="users/${operationId.toLowerCase()}"]`);
            await operation.getByRole('heading', { name: summary }).waitFor();
            await operation.getByText(`${method.toUpperCase()}${path}`).waitFor();

            const statuses = operation.getByRole('tablist', { name: 'Response status' });
            const tabs = await statuses.getByRole('tab').allInnerTexts();
            assert.deepEqual(tabs, Object.keys(responses));
            if (requestBody) {
                shown += await showsExamples(page, operation, 'Payload', requestBody.content);
            }
            for (const [status, { content }] of Object.entries(responses)) {
                await statuses.getByRole('tab', { name: status }).click();
                if (content) {
                    shown += await showsExamples(page, operation, 'Response', content);
                }
            }
        });
    }
    assert.equal(shown, examplesIn(operations));
});

test('the reference shows the sections of the description, in light and dark mode', async () => {
    const headings = [...description.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading);
    assert(headings.length > 0);
    for (const colorScheme of ['light', 'dark']) {
        await withPage(browser, { ...alone, colorScheme }, async (page) => {
            await page.goto(url);
            for (const name of headings) {
                await page.getByRole('heading', { name }).waitFor();
            }
            assert.equal(await page.locator('html').getAttribute('class'), colorScheme);
        });
    }
});

function examplesIn(operations) {
    const contents = operations.flatMap(({ requestBody, responses }) =>
        [requestBody, ...Object.values(responses)].flatMap((it) => Object.values(it?.content ?? {})),
    );
    return contents.flatMap(({ examples }) => Object.keys(examples)).length;
}

/** Checks that the page shows each example, and returns the number of examples. */
async function showsExamples(page, operation, kind, content) {
    let shown = 0;
    const mediaTypes = Object.entries(content);
    for (const [mediaType, { examples }] of mediaTypes) {
        if (mediaTypes.length > 1) {
            await operation.getByRole('button', { name: `${kind} media type` }).click();
            await page.getByRole('menuitem', { name: mediaType, exact: true }).click();
        }
        for (const { summary, value } of Object.values(examples)) {
            // The page shows a menu of examples only if there is more than one.
            if (Object.keys(examples).length > 1) {
                const choice = operation.getByRole('button', { name: 'Example' });
                await (kind === 'Payload' ? choice.first() : choice.last()).click();
                await page.getByRole('menuitem', { name: summary, exact: true }).click();
            }
            const text = (await operation.innerText()).replace(/\s/g, '');
            assert(text.includes(JSON.stringify(value).replace(/\s/g, '')), `${mediaType}: ${summary}`);
            shown += 1;
        }
    }
    return shown;
}
