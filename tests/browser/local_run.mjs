// The local run as its user has it: the program behind `make run`, with everything it starts.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';

import { PATIENCE, root } from './browser.mjs';

const program = join(resolve(root, process.env.CARGO_TARGET_DIR ?? 'target'), 'debug/local');

/** A port that nobody uses. */
async function freePort() {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    server.close();
    await once(server, 'close');
    return port;
}

/** A service and its page, with the same ports and data whenever it is started. */
export class LocalRun {
    #process;
    #output = '';

    static async on(data) {
        return new LocalRun(data, await freePort(), await freePort());
    }

    constructor(data, port, pagePort) {
        this.data = data;
        this.port = port;
        this.pagePort = pagePort;
        this.users = `http://127.0.0.1:${port}/api/users`;
        this.page = `http://127.0.0.1:${pagePort}`;
    }

    /** Starts the service and waits until it says that it is ready. */
    async start() {
        const env = {
            ...process.env,
            PORT: String(this.port),
            PAGE_PORT: String(this.pagePort),
            DATA_DIR: this.data,
        };
        this.#output = '';
        this.#process = spawn(program, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
        const ready = new Promise((resolve, reject) => {
            const collect = (chunk) => {
                this.#output += chunk;
                if (this.#output.includes(`A page to try it is at ${this.page}\n`)) resolve();
            };
            this.#process.stdout.on('data', collect);
            this.#process.stderr.on('data', collect);
            this.#process.once('error', reject);
            this.#process.once('exit', () => reject(new Error(`It ended:\n${this.#output}`)));
            setTimeout(() => reject(new Error(`Not ready:\n${this.#output}`)), PATIENCE).unref();
        });
        await ready;
    }

    /** Ends the service, unless it has ended, and sees that it ends well. */
    async stop() {
        if (!this.#process || this.#process.exitCode !== null) return;
        const ended = once(this.#process, 'exit');
        this.#process.kill('SIGTERM');
        const [status] = await ended;
        assert.equal(status, 0, this.#output);
    }

    /** Creates users, one after the other. */
    async create(...usernames) {
        for (const username of usernames) {
            const { status } = await this.tryCreate(username);
            assert.equal(status, 201, username);
        }
    }

    /** Asks for a username, past the page. */
    tryCreate(username) {
        const headers = { 'Content-Type': 'application/json' };
        const body = JSON.stringify({ username });
        return fetch(this.users, { method: 'POST', headers, body });
    }

    /** The usernames that begin so. */
    async list(prefix) {
        const answer = await fetch(`${this.users}?${new URLSearchParams({ prefix })}`);
        return (await answer.json()).map((user) => user.username);
    }
}
