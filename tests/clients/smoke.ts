// Uses a client generated from the contract. `tsc` refuses this program if it reads a property that
// the contract does not define.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.ts";

const [baseUrl] = process.argv.slice(2);
assert(baseUrl !== undefined, "the first argument must be the URL of the service");
const client = createClient<paths>({ baseUrl });

async function create(username: string, key?: string) {
    const header = key === undefined ? {} : { "Idempotency-Key": key };
    return client.POST("/api/users", { params: { header }, body: { username } });
}

const created = await create("ada", "one");
assert.equal(created.response.status, 201);
const ada: components["schemas"]["User"] | undefined = created.data;
assert(ada !== undefined);
assert.equal(ada.username, "ada");
assert(Date.now() - Date.parse(ada.created_at) < 60_000);

const replayed = await create("ada", "one");
assert.equal(replayed.response.headers.get("idempotent-replayed"), "true");
assert.deepEqual(replayed.data, ada);

const taken = await create("ADA");
assert.equal(taken.data, undefined);
assert(taken.error !== undefined && "type" in taken.error);
assert(taken.error.type === "urn:problem-type:users:username-taken");
const conflict: 409 = taken.error.status;
assert.equal(conflict, taken.response.status);

const refused = await create("no spaces");
assert(refused.error !== undefined && "type" in refused.error);
assert(refused.error.type === "urn:problem-type:users:invalid-user");
const [fault] = refused.error.errors;
assert(fault !== undefined);
assert(fault.code === "disallowed-character");

await create("adam");
await create("bea");

type Query = paths["/api/users"]["get"]["parameters"]["query"];

// Returns the usernames on a page, and the query of the next page.
async function list(query: Query): Promise<[string[], Query]> {
    const { data, response } = await client.GET("/api/users", { params: { query } });
    assert(data !== undefined);
    const usernames = data.map((user) => user.username);
    const [, next] = /<([^>]*)>; rel="next"/.exec(response.headers.get("link") ?? "") ?? [];
    if (next === undefined) {
        return [usernames, undefined];
    }
    const { prefix, limit, cursor } = Object.fromEntries(new URL(next, response.url).searchParams);
    return [usernames, { prefix, limit: Number(limit), cursor }];
}

const [first, next] = await list({ prefix: "ad", limit: 1 });
assert.deepEqual(first, ["ada"]);
assert(next !== undefined);
const [second, end] = await list(next);
assert.deepEqual([second, end], [["adam"], undefined]);
