// Starts a real Chromium for the tests of pages, and checks what each page loads and logs.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

import { PATIENCE, root } from './local_run.mjs';

export { PATIENCE, root };

const installed = join(root, '.tools/browser');
/** Loads an npm package from the folder in which the browser is installed. */
export const load = createRequire(join(installed, 'package.json'));
const { chromium } = load('playwright-core');

/** Starts a browser without background requests. The caller must close it. */
export function launch(...args) {
    // A killed Chromium leaves its temporary files behind. So they go into a folder that this
    // process removes when it exits.
    const temporary = mkdtempSync(join(tmpdir(), 'chromium-'));
    process.once('exit', () => rmSync(temporary, { recursive: true, force: true }));
    const { executablePath, libraries } = program();
    return chromium.launch({
        executablePath,
        env: { ...process.env, ...libraries, TMPDIR: temporary },
        args: [
            '--no-sandbox',
            '--disable-gpu',
            '--disable-quic',
            '--no-first-run',
            '--disable-background-networking',
            '--disable-component-update',
            '--disable-sync',
            ...args,
        ],
    });
}

function program() {
    if (process.platform === 'linux' && process.arch === 'x64') {
        return {
            executablePath: join(installed, 'chromium/chromium'),
            libraries: {
                LD_LIBRARY_PATH: join(installed, 'chromium/al2023/lib'),
                FONTCONFIG_FILE: join(installed, 'fonts.conf'),
            },
        };
    }
    const names = ['chromium', 'chromium-browser', 'google-chrome', 'chrome'];
    const folders = (process.env.PATH ?? '').split(delimiter);
    const places = names.flatMap((name) => folders.map((folder) => join(folder, name)));
    const executablePath = places.find(existsSync);
    assert(executablePath, 'No Chromium is on the PATH. Install one; .tools has a Chromium only for Linux on x86-64.');
    return { executablePath };
}

/**
 * Runs a test on an empty page in a new profile, then checks what the page loaded and logged.
 * `allowed` has prefixes of the URLs that the page may load. `complaints` has patterns of the
 * errors and warnings that it may log.
 */
export async function withPage(browser, { allowed, complaints = [], ...options }, test) {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(PATIENCE / 4);
    const page = await context.newPage();
    const requested = [];
    const complained = [];
    context.on('request', (request) => requested.push(request.url()));
    page.on('pageerror', (error) => complained.push(error.message));
    page.on('console', (message) => {
        if (['error', 'warning'].includes(message.type())) complained.push(message.text());
    });
    try {
        const result = await test(page);
        const isAllowed = (url) => allowed.some((start) => url.startsWith(start));
        assert.deepEqual(requested.filter((url) => !isAllowed(url)), []);
        const isExpected = (text) => complaints.some((complaint) => complaint.test(text));
        assert.deepEqual(complained.filter((text) => !isExpected(text)), []);
        return result;
    } finally {
        await context.close();
    }
}
