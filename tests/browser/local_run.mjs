// Starts and stops the local run, the program of `make run`.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** The longest time, in milliseconds, that a test waits for a process on a busy machine. */
export const PATIENCE = 120_000;

const program = join(resolve(root, process.env.CARGO_TARGET_DIR ?? 'target'), 'debug/local');

const READY = /^The users API is ready at (.*)\nA page to try it is at (.*)\n/m;

/** The service and its web page. After a `stop`, `start` uses the same ports and data again. */
export class LocalRun {
    #process;
    #output = '';
    // 0 means any free port. The first `start` replaces the zeros with the ports that it got.
    #ports = { PORT: '0', PAGE_PORT: '0' };

    constructor(data) {
        this.data = data;
    }

    async start() {
        const env = { ...process.env, ...this.#ports, DATA_DIR: this.data };
        this.#output = '';
        this.#process = spawn(program, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
        const ready = new Promise((resolve, reject) => {
            const collect = (chunk) => {
                this.#output += chunk;
                const urls = READY.exec(this.#output);
                if (urls) resolve(urls);
            };
            this.#process.stdout.on('data', collect);
            this.#process.stderr.on('data', collect);
            this.#process.once('error', reject);
            this.#process.once('exit', () => reject(new Error(`The service ended:\n${this.#output}`)));
            setTimeout(() => reject(new Error(`The service is not ready:\n${this.#output}`)), PATIENCE).unref();
        });
        const [, users, page] = await ready;
        this.users = users;
        this.page = page;
        this.port = new URL(users).port;
        this.pagePort = new URL(page).port;
        this.#ports = { PORT: this.port, PAGE_PORT: this.pagePort };
    }

    get pid() {
        return this.#process.pid;
    }

    async stop() {
        if (!this.#process || this.#process.exitCode !== null) return;
        const ended = once(this.#process, 'exit');
        this.#process.kill('SIGTERM');
        const [status] = await ended;
        assert.equal(status, 0, this.#output);
    }

    async create(...usernames) {
        for (const username of usernames) {
            const { status } = await this.tryCreate(username);
            assert.equal(status, 201, username);
        }
    }

    tryCreate(username) {
        const headers = { 'Content-Type': 'application/json' };
        const body = JSON.stringify({ username });
        return fetch(this.users, { method: 'POST', headers, body });
    }

    /** The first page of usernames that begin with this prefix. */
    async list(prefix) {
        const answer = await fetch(`${this.users}?${new URLSearchParams({ prefix })}`);
        return (await answer.json()).map((user) => user.username);
    }
}
