/** The Lambda function behind `GET /api/users`. */

import { createHash } from "node:crypto";

import { QueryCommand } from "@aws-sdk/client-dynamodb";

import { answers, dynamodb, KIND_USER, Problem, TABLE_NAME, user } from "./shared.mjs";

const MAX_LIMIT = 1000;
const DEFAULT_LIMIT = 100;

export const handler = answers("GET /api/users", async (event) => {
  const given = new URLSearchParams(event.rawQueryString);
  const limit = Number(given.get("limit") ?? DEFAULT_LIMIT);
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) {
    throw new Problem(400, `The limit must be from 1 to ${MAX_LIMIT}`);
  }
  const { users, lastKey } = await query(limit, given.get("cursor"));
  const body = JSON.stringify(users);
  const headers = { "content-type": "application/json", "cache-control": "private, no-cache" };
  if (lastKey !== undefined) {
    const cursor = Buffer.from(lastKey).toString("base64url");
    headers.link = `<?${new URLSearchParams({ cursor, limit })}>; rel="next"`;
  }
  const digest = createHash("sha256")
    .update(body)
    .update(headers.link ?? "")
    .digest();
  headers.etag = `"${digest.subarray(0, 16).toString("base64url")}"`;
  return { status: 200, headers, body, metrics: ["PagesListed"] };
});

/** Returns the users of a page and, if there is a next page, the key after which it begins. */
async function query(limit, cursor) {
  const input = {
    TableName: TABLE_NAME,
    KeyConditionExpression: "kind = :kind",
    ExpressionAttributeValues: { ":kind": { S: KIND_USER } },
    ProjectionExpression: "username_key, username, id",
    // The extra user shows that there is a next page.
    Limit: limit + 1,
    ConsistentRead: true,
  };
  if (cursor !== null) {
    const after = Buffer.from(cursor, "base64url").toString();
    input.ExclusiveStartKey = { kind: { S: KIND_USER }, username_key: { S: after } };
  }
  const found = await dynamodb.send(new QueryCommand(input));
  const page = found.Items.slice(0, limit);
  const users = page.map((item) => user(item.id.S, item.username.S));
  // DynamoDB ends a query after 1 MB of items. It then returns the key of the last item.
  const last = found.Items.length > limit ? page.at(-1) : found.LastEvaluatedKey;
  return { users, lastKey: last?.username_key.S };
}
