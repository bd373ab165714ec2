import { DynamoDBClient } from "@aws-sdk/client-dynamodb";

// Each sandbox creates this client once, in Lambda's INIT phase. It keeps connections open.
export const dynamodb = new DynamoDBClient({
  maxAttempts: 3,
  requestHandler: {
    connectionTimeout: 1000,
    requestTimeout: 1200,
    // Without this option, the SDK only logs a warning after `requestTimeout`, and the request
    // goes on.
    throwOnRequestTimeout: true,
  },
});

export const { TABLE_NAME } = process.env;
export const KIND_USER = "user";

/** An error that the caller gets as a problem document (RFC 9457). */
export class Problem extends Error {
  /** Only the log contains `cause`. */
  constructor(status, title, { metrics = [], cause } = {}) {
    super(title);
    const headers = { "content-type": "application/problem+json", "cache-control": "no-store" };
    this.answer = { status, headers, body: JSON.stringify({ title, status }), metrics, cause };
  }
}

/** Makes a Lambda handler from `answerTo`, which answers an event or throws a `Problem`. */
export function answers(route, answerTo) {
  let coldStart = true;
  return async (event, context) => {
    const started = performance.now();
    let answer;
    try {
      answer = await answerTo(event);
    } catch (error) {
      answer = toProblem(error).answer;
    }
    log(route, event, context, answer, started, coldStart);
    coldStart = false;
    const headers = { "x-content-type-options": "nosniff", ...answer.headers };
    return { statusCode: answer.status, headers, body: answer.body };
  };
}

function toProblem(error) {
  if (error instanceof Problem) {
    return error;
  }
  // Do not log the error's message, because it may quote a username.
  const frames = error.stack?.split("\n").filter((line) => line.startsWith("    at ")) ?? [];
  const cause = [error.name, ...frames].join("\n");
  return new Problem(500, "The service failed", { metrics: ["InternalErrors"], cause });
}

/** Writes a request's log line, with metrics in CloudWatch's embedded metric format. */
function log(route, event, context, answer, started, coldStart) {
  const now = new Date();
  const metrics = coldStart ? [...answer.metrics, "ColdStarts"] : answer.metrics;
  const line = {
    timestamp: now.toISOString(),
    level: answer.status >= 500 ? "ERROR" : "INFO",
    message: "request",
    requestId: context.awsRequestId,
    traceId: process.env._X_AMZN_TRACE_ID,
    route,
    caller: event.requestContext.authorizer?.jwt?.claims?.sub,
    status: answer.status,
    coldStart,
    cause: answer.cause,
    FunctionName: context.functionName,
    FunctionVersion: context.functionVersion,
    Latency: performance.now() - started,
    ...Object.fromEntries(metrics.map((name) => [name, 1])),
    _aws: {
      Timestamp: now.getTime(),
      CloudWatchMetrics: [
        {
          Namespace: "UsersApi",
          Dimensions: [["FunctionName"]],
          Metrics: [
            { Name: "Latency", Unit: "Milliseconds" },
            ...metrics.map((name) => ({ Name: name, Unit: "Count" })),
          ],
        },
      ],
    },
  };
  // CloudWatch finds metrics only in a line that is JSON. With `console.log`, Lambda's runtime
  // would put a time and a level before the JSON.
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** Returns a user as the API shows it. The first 48 bits of the id are the time of creation. */
export function user(id, username) {
  const milliseconds = parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
  return { id, username, created_at: new Date(milliseconds).toISOString() };
}
