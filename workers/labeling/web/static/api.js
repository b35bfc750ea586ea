// The line's API, as the queue page uses it.

const BASE = "/api/v1";

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `${status}`);
    this.status = status;
    this.problem = problem;
  }
}

// A service that is away, or a network that is: what was asked may be asked again.
export function isAway(error) {
  return !(error instanceof Refused) || error.status >= 500 || error.status === 429;
}

const ASK_AGAIN = 1500;

// Asked again and again while the line is away; what it refuses is refused.
export async function untilAnswered(ask, onAway) {
  while (true) {
    try {
      return await ask();
    } catch (error) {
      if (!isAway(error)) throw error;
      onAway();
      await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN));
    }
  }
}

let clockSkew = 0; // milliseconds from this machine's clock to the server's

export function serverNow() {
  return Date.now() + clockSkew;
}

async function ask(method, path, body) {
  const sent = body instanceof Blob ? body : body === undefined ? undefined : JSON.stringify(body);
  const headers = sent === undefined ? {} : { "content-type": body instanceof Blob ? body.type : "application/json" };
  const answer = await fetch(BASE + path, { method, headers, body: sent });
  const date = Date.parse(answer.headers.get("date"));
  if (date && Math.abs(date + 500 - serverNow()) > 1500) clockSkew = date + 500 - Date.now();
  if (answer.status === 204) return null;
  const told = await answer.json().catch(() => ({}));
  if (answer.status === 401) location.reload(); // the way to sign in
  if (!answer.ok) throw new Refused(answer.status, told);
  return told;
}

export const api = {
  claim: async () => (await ask("POST", "/reviews/claim", {})).reviews[0] ?? null,
  sight: (review) => ask("GET", `/reviews/${review}/sight`),
  heartbeat: (lease) => ask("POST", `/reviews/${lease.review_id}/heartbeat`, { token: lease.token }),
  release: (lease) => ask("POST", `/reviews/${lease.review_id}/release`, { token: lease.token }),
  skip: (lease) => ask("POST", `/reviews/${lease.review_id}/skip`, { token: lease.token }),
  alike: async (lease) => (await ask("POST", `/reviews/${lease.review_id}/alike`, { token: lease.token })).reviews,
  undo: (review) => ask("POST", `/reviews/${review}/undo`),
  // Regions are those of the first part, which was shown; the others of its group have none.
  resolve: (leases, { regions, ...said }) =>
    leases.length === 1
      ? ask("POST", `/reviews/${leases[0].review_id}/resolve`, { token: leases[0].token, resolution: { ...said, regions } })
      : ask("POST", "/reviews/resolve", {
          held: leases.map(({ review_id, token }, i) => ({ review_id, token, regions: i ? [] : regions })),
          resolution: said,
        }),
  storeMask: (png) => ask("POST", "/masks", png),
  defects: () => ask("GET", "/defects"),
  wish: () => ask("GET", "/queue/filter"),
  remember: (wish) => ask("PUT", "/queue/filter", wish),
  choices: () => ask("GET", "/queue/choices"),
  open: () => ask("GET", "/reviews?state=open&limit=200"),
};

export const line = {
  status: () => ask("GET", "/status"),
  parts: (count) => ask("GET", `/parts?limit=${count}`),
  stations: () => ask("GET", "/stations"),
  queue: () => ask("GET", "/queue"),
  agreement: () => ask("GET", "/queue/agreement"),
};

export const models = {
  list: () => ask("GET", "/models"),
  requests: () => ask("GET", "/deployment-requests?state=waiting"),
  history: () => ask("GET", "/deployments?limit=50"),
  runs: () => ask("GET", "/training?limit=20"),
  deploy: (version, wish) => ask("POST", `/models/${encodeURIComponent(version)}/deploy`, wish),
  rollBack: (wish) => ask("POST", "/models/rollback", wish),
  answer: (request, said) => ask("POST", `/deployment-requests/${request}/answer`, said),
};

export const imageUrl = (sha256) => `${BASE}/images/${sha256}/rendition`;
export const thumbnailUrl = (sha256) => `${BASE}/images/${sha256}/thumbnail`;
export const reportUrl = (run) => `${BASE}/training/${run}/report`;
export const heatUrl = (sha256) => `${BASE}/images/${sha256}/heatmap`;
