/** The Lambda function behind `GET /api/users`. */

import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";

import { QueryCommand } from "@aws-sdk/client-dynamodb";

import { answers, dynamodb, KIND_USER, Problem, TABLE_NAME, user } from "./shared.mjs";
import { prefixKey } from "./username.mjs";

const MAX_LIMIT = 1000;
const DEFAULT_LIMIT = 100;
const MAX_CURSOR_CHARS = 434;
const MAX_ERRORS = 20;
const MAX_ECHOED_CHARS = 40;
const ETAG_BYTES = 16;

const CURSOR_VERSION = 1;
const CURSOR_HEADER_BYTES = 5;

export const handler = answers("GET /api/users", async (event) => {
  const wanted = parseQuery(event.rawQueryString);
  const { users, nextKey } = await query(wanted);
  const body = JSON.stringify(users);
  const link = nextKey === undefined ? undefined : nextLink(wanted, nextKey);
  // It covers the link too: when a user is added behind the last page, its body stays the same.
  const digest = createHash("sha256")
    .update(body)
    .update(link ?? "")
    .digest();
  const etag = `"${digest.subarray(0, ETAG_BYTES).toString("base64url")}"`;
  const headers = { "cache-control": "private, no-cache", etag };
  if (link !== undefined) {
    headers.link = link;
  }
  const metrics = ["PagesListed"];
  if (matches(event.headers["if-none-match"], etag)) {
    return { status: 304, headers, metrics };
  }
  headers["content-type"] = "application/json";
  return { status: 200, headers, body, metrics };
});

/** The users of a page, and the key after which the next page begins, if there is one. */
async function query(wanted) {
  const input = {
    TableName: TABLE_NAME,
    KeyConditionExpression: "kind = :kind",
    ExpressionAttributeValues: { ":kind": { S: KIND_USER } },
    ProjectionExpression: "username_key, username, id",
    // One more than the page holds tells whether there is a next page.
    Limit: wanted.limit + 1,
    ConsistentRead: true,
  };
  if (wanted.prefix !== "") {
    input.KeyConditionExpression += " AND begins_with(username_key, :prefix)";
    input.ExpressionAttributeValues[":prefix"] = { S: wanted.prefix };
  }
  if (wanted.after !== undefined) {
    input.ExclusiveStartKey = { kind: { S: KIND_USER }, username_key: { S: wanted.after } };
  }
  const found = await dynamodb.send(new QueryCommand(input));
  const page = found.Items.slice(0, wanted.limit);
  const users = page.map((item) => user(item.id.S, item.username.S));
  // The table may stop early, at 1 MB or at its own discretion, and says where.
  const last = found.Items.length > wanted.limit ? page.at(-1) : found.LastEvaluatedKey;
  return { users, nextKey: last?.username_key.S };
}

/** Reads the query string, and throws a problem with all of its faults. */
function parseQuery(text) {
  const faults = [];
  const addFault = (parameter, code, detail) => faults.push({ parameter, code, detail });

  const given = new Map();
  for (const [name, value] of new URLSearchParams(text)) {
    if (!["prefix", "limit", "cursor"].includes(name)) {
      const echoed = Array.from(name).slice(0, MAX_ECHOED_CHARS).join("");
      const detail = "Unknown parameter. Use prefix, limit or cursor.";
      addFault(echoed, "unknown", detail);
    } else if (given.has(name)) {
      addFault(name, "repeated", "The parameter is repeated. Send it once.");
    } else {
      given.set(name, value);
    }
  }

  const rawPrefix = given.get("prefix");
  let prefix;
  // Bytes that are not UTF-8 were decoded to this character, which no username can have.
  if (rawPrefix?.includes("\uFFFD")) {
    addFault("prefix", "malformed", "The prefix is not percent-encoded UTF-8.");
  } else {
    try {
      prefix = prefixKey(rawPrefix ?? "");
    } catch (error) {
      addFault("prefix", "too-long", error.message);
    }
  }

  const rawLimit = given.get("limit") ?? String(DEFAULT_LIMIT);
  const limit = Number(rawLimit);
  if (!/^[0-9]+$/.test(rawLimit)) {
    addFault("limit", "malformed", "The limit must be a whole number in decimal digits, such as 100.");
  } else if (limit < 1 || limit > MAX_LIMIT) {
    addFault("limit", "out-of-range", `The limit must be from 1 to ${MAX_LIMIT}.`);
  }

  const cursor = given.get("cursor");
  let after;
  // A cursor can only be judged beside the prefix that it was made for.
  if (cursor !== undefined && prefix !== undefined) {
    after = decodeCursor(cursor, prefix);
    if (after === undefined) {
      addFault(
        "cursor",
        "invalid-cursor",
        "The cursor is invalid or was made for another prefix. Follow the Link header unchanged, or " +
          "start again without a cursor.",
      );
    }
  }

  if (faults.length > 0) {
    throw new Problem(
      "invalid-query",
      "The query string is invalid: see errors. It may hold prefix, limit and cursor, each " +
        "once.",
      { errors: faults.slice(0, MAX_ERRORS) },
    );
  }
  return { rawPrefix, prefix, limit, after };
}

/** The link to the page after this key, relative to the request (RFC 8288). */
function nextLink(wanted, lastKey) {
  const parameters = new URLSearchParams({
    cursor: encodeCursor(wanted.prefix, lastKey),
    limit: wanted.limit,
  });
  if (wanted.rawPrefix !== undefined) {
    parameters.set("prefix", wanted.rawPrefix);
  }
  return `<?${parameters}>; rel="next"`;
}

/** The key, with a checksum that tells a damaged cursor or that of another prefix. */
function encodeCursor(prefix, lastKey) {
  const key = Buffer.from(lastKey);
  // No UTF-8 text has the byte ff, so it keeps (a, bc) and (ab, c) apart.
  const checked = [Buffer.of(CURSOR_VERSION), Buffer.from(prefix), Buffer.of(0xff), key];
  const header = Buffer.alloc(CURSOR_HEADER_BYTES, CURSOR_VERSION);
  header.writeUInt32BE(crc32(Buffer.concat(checked)), 1);
  return Buffer.concat([header, key]).toString("base64url");
}

/** The key after which the list continues; undefined for what `encodeCursor` did not make. */
function decodeCursor(cursor, prefix) {
  if (cursor.length > MAX_CURSOR_CHARS) {
    return undefined;
  }
  const key = Buffer.from(cursor, "base64url").subarray(CURSOR_HEADER_BYTES).toString();
  // The table refuses to begin outside of the prefix.
  const isSound = key !== "" && key.startsWith(prefix) && cursor === encodeCursor(prefix, key);
  return isSound ? key : undefined;
}

/** Whether the client has this page already (RFC 9110, section 13.1.2). */
function matches(ifNoneMatch, etag) {
  if (ifNoneMatch === undefined) {
    return false;
  }
  const tags = ifNoneMatch.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return ifNoneMatch === "*" || tags.includes(etag);
}
