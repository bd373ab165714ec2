/** The Lambda function behind `POST /api/users`. */

import { createHash } from "node:crypto";
import { MIMEType } from "node:util";

import { ConditionalCheckFailedException, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { v7 as uuidv7 } from "uuid";

import { answers, caller, dynamodb, KIND_USER, Problem, TABLE_NAME, user } from "./shared.mjs";
import * as usernames from "./username.mjs";

const MAX_BODY_BYTES = 16 * 1024;

/** A Structured Field string (RFC 9651), or the bare characters that many clients send. */
const IDEMPOTENCY_KEY =
  /^(?:"(?<quoted>(?:[!#-\[\]-~]|\\["\\]){1,255})"|(?<bare>[!#-+\--:<-\[\]-~]{1,255}))$/;

export const handler = answers("POST /api/users", async (event) => {
  checkMediaType(event.headers["content-type"]);
  const request = fingerprint(event, event.headers["idempotency-key"]);
  const username = parseBody(event);

  const id = uuidv7();
  const item = {
    kind: { S: KIND_USER },
    username_key: { S: username.key },
    username: { S: username.display },
    id: { S: id },
  };
  if (request) {
    item.request = { B: request };
  }
  const put = new PutItemCommand({
    TableName: TABLE_NAME,
    Item: item,
    ConditionExpression: "attribute_not_exists(username_key)",
    ReturnValuesOnConditionCheckFailure: "ALL_OLD",
  });
  try {
    await dynamodb.send(put);
  } catch (error) {
    if (!(error instanceof ConditionalCheckFailedException)) {
      throw error;
    }
    // The item that is there tells whether this very request made it.
    const found = error.Item;
    // The SDK repeated a write whose answer was lost.
    if (found.id.S === id) {
      return created(id, username.display, "UsersCreated");
    }
    // The client repeated its request.
    if (
      request &&
      found.request &&
      request.equals(found.request.B) &&
      found.username.S === username.display
    ) {
      const answer = created(found.id.S, username.display, "CreatesReplayed");
      answer.headers["idempotent-replayed"] = "true";
      return answer;
    }
    throw new Problem(
      "username-taken",
      "Another user has this username, or one that differs from it only in case or width. Choose " +
        "another one.",
      { metrics: ["Conflicts"] },
    );
  }
  return created(id, username.display, "UsersCreated");
});

function created(id, username, metric) {
  const headers = { "content-type": "application/json", "cache-control": "no-store" };
  return { status: 201, headers, body: JSON.stringify(user(id, username)), metrics: [metric] };
}

/** Checks that the body is said to be JSON in UTF-8. */
function checkMediaType(contentType) {
  let isJson = false;
  try {
    const { type, subtype, params } = new MIMEType(contentType ?? "");
    const charset = params.get("charset") ?? "utf-8";
    isJson =
      type === "application" &&
      (subtype === "json" || subtype.endsWith("+json")) &&
      charset.toLowerCase() === "utf-8";
  } catch {
    // It is no media type.
  }
  if (!isJson) {
    throw new Problem(
      "unsupported-media-type",
      "Send the user as JSON in UTF-8, with the header Content-Type: application/json.",
    );
  }
}

/** The hash of the caller and its Idempotency-Key, by which a repeated request is known. */
function fingerprint(event, idempotencyKey) {
  if (idempotencyKey === undefined) {
    return undefined;
  }
  const match = IDEMPOTENCY_KEY.exec(idempotencyKey.replace(/^[ \t]+|[ \t]+$/g, ""));
  if (match === null) {
    throw new Problem(
      "invalid-idempotency-key",
      "Send one Idempotency-Key of 1 to 255 visible ASCII characters, such as a UUID, in double " +
        "quotes.",
    );
  }
  const { quoted, bare } = match.groups;
  const key = bare ?? quoted.replace(/\\(.)/g, "$1");
  const sub = caller(event);
  // The length keeps (ab, c) and (a, bc) apart, and no caller apart from an empty one.
  const length = Buffer.alloc(8, 0xff);
  if (sub !== undefined) {
    length.writeBigUInt64BE(BigInt(Buffer.byteLength(sub)));
  }
  return createHash("sha256")
    .update(length)
    .update(sub ?? "")
    .update(key)
    .digest();
}

function parseBody(event) {
  const body = Buffer.from(event.body ?? "", event.isBase64Encoded ? "base64" : "utf8");
  if (body.length > MAX_BODY_BYTES) {
    throw new Problem(
      "body-too-large",
      `The body has ${body.length} bytes; at most ${MAX_BODY_BYTES} are allowed.`,
    );
  }
  if (body.length === 0) {
    throw invalidBody("The body is empty; send a JSON object with a username.");
  }
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    throw invalidBody("The body is not UTF-8.");
  }
  let members;
  try {
    members = JSON.parse(text);
  } catch {
    throw invalidBody("The body is not JSON.");
  }
  if (members === null || typeof members !== "object" || Array.isArray(members)) {
    throw invalidBody("The body is JSON but not an object; send a JSON object with a username.");
  }
  if (!Object.hasOwn(members, "username")) {
    throw invalidUsername("missing", "The field username is missing.");
  }
  const { username } = members;
  if (typeof username !== "string") {
    throw invalidUsername("not-a-string", "The field username must be a string.");
  }
  if (!username.isWellFormed()) {
    throw invalidBody(
      "The username contains an unpaired surrogate, such as \\ud800.",
    );
  }
  try {
    return usernames.parse(username);
  } catch (error) {
    if (error instanceof usernames.UsernameError) {
      throw invalidUsername(error.code, error.message);
    }
    throw error;
  }
}

function invalidBody(detail) {
  return new Problem("invalid-body", detail);
}

function invalidUsername(code, detail) {
  return new Problem("invalid-user", detail, {
    errors: [{ pointer: "#/username", code, detail }],
  });
}
