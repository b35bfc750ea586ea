// Model versions, requests for a second person, and who was champion when. Texts are set as text, never as HTML.

import { models, reportUrl } from "/pages/api.js";

const OFTEN = 3000;

export default {
  props: { words: Object, deploys: Boolean },
  template: `<div class="models">
    <p class="models-said" aria-live="polite"></p>
    <section class="requests"><h2></h2><ul></ul></section>
    <section class="versions"><h2></h2><ul></ul></section>
    <section class="runs"><h2></h2><ul></ul></section>
    <section class="history"><h2></h2><ol></ol></section>
  </div>`,
  mounted() {
    this.page = new ModelsPage(this.$el, this.words, this.deploys);
  },
  unmounted() {
    this.page.close();
  },
};

export class ModelsPage {
  constructor(root, words, deploys) {
    Object.assign(this, { root, words, deploys });
    for (const name of ["requests", "versions", "runs", "history"])
      this.find(`.${name} h2`).textContent = words[`models_${name}`];
    const run = () => document.hidden || this.show().catch(() => root.classList.add("away"));
    run();
    this.timer = setInterval(run, OFTEN);
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  close() {
    clearInterval(this.timer);
  }

  async show() {
    const asked = [models.list(), models.requests(), models.history(), models.runs()];
    const [versions, requests, history, runs] = await Promise.all(asked);
    this.root.classList.remove("away");
    this.find(".requests").hidden = !requests.length;
    this.find(".requests ul").replaceChildren(...requests.map((one) => this.request(one)));
    this.find(".versions ul").replaceChildren(...versions.map((one) => this.version(one)));
    this.find(".runs").hidden = !runs.length;
    this.find(".runs ul").replaceChildren(...runs.map((one) => this.run(one)));
    this.find(".history ol").replaceChildren(...history.map((one) => this.deployment(one)));
  }

  version({ id, recipe, aliases, created_at, snapshot, gate, promise, was_deployed, training_run, report }) {
    const facts = [element("b", "", id), element("span", "", [recipe, ...aliases].join(" · ")), when(created_at)];
    const said = element("small", "", [gate ?? promise ?? "", snapshot ?? ""].filter(Boolean).join(" · "));
    const item = element("li", aliases.join(" "), [...facts, ...this.report(report && training_run), said]);
    if (this.deploys && !aliases.includes("champion")) {
      const back = was_deployed && aliases.length === 0;
      const act = (reason) => models.deploy(id, { reason });
      item.append(this.button(back ? "deploy_again" : "deploy", act));
    }
    return item;
  }

  run({ id, recipe, cause, requested_at, state, phase, progress, promoted, candidate, sentence, error, figures, report }) {
    const said = this.words[promoted ? "run_promoted" : `run_${state}`];
    const share = state === "running" ? ` ${phase ?? ""} ${Math.round(100 * progress)} %` : "";
    const facts = [element("b", "", candidate ?? recipe), element("span", "", `${recipe} · ${cause} · ${said}${share}`)];
    const { f1_before: before, f1_after: after } = figures;
    if (after != null) facts.push(element("span", "", `${this.words.f1} ${before.toFixed(3)} → ${after.toFixed(3)}`));
    const rest = [when(requested_at), ...this.report(report && id), element("small", "", sentence ?? error ?? "")];
    return element("li", state, [...facts, ...rest]);
  }

  report(run) {
    if (!run) return [];
    const link = element("a", "report", this.words.report);
    Object.assign(link, { href: reportUrl(run), target: "_blank", rel: "noopener" });
    return [link];
  }

  request({ request_id, model_version, alias, recipe, requested_by, reason }) {
    const item = element("li", "", [
      element("b", "", model_version),
      element("span", "", `${recipe} · ${alias} · ${requested_by}`),
      element("small", "", reason),
    ]);
    if (this.deploys) {
      const answer = (approved) => (said) => models.answer(request_id, { approved, reason: said });
      item.append(this.button("approve", answer(true)), this.button("refuse", answer(false)));
    }
    return item;
  }

  deployment({ recipe, alias, model_version, share, deployed_at, replaced_at, deployed_by, approved_by, reason }) {
    const by = approved_by ? `${deployed_by}, ${approved_by}` : deployed_by;
    const part = share === 1 ? "" : ` ${Math.round(100 * share)} %`;
    const item = element("li", replaced_at ? "" : alias, [
      when(deployed_at),
      element("b", "", model_version),
      element("span", "", `${recipe} · ${alias}${part} · ${by}`),
      element("small", "", reason),
    ]);
    if (this.deploys && alias === "champion" && !replaced_at)
      item.append(this.button("roll_back", (said) => models.rollBack({ recipe, reason: said })));
    return item;
  }

  button(name, act) {
    const made = element("button", "", this.words[name]);
    made.addEventListener("click", () => this.ask(name, act));
    return made;
  }

  async ask(name, act) {
    const reason = prompt(`${this.words[name]}: ${this.words.why}`);
    if (!reason?.trim()) return;
    const said = this.find(".models-said");
    try {
      const { state, model_version } = await act(reason.trim());
      said.textContent = `${model_version ?? ""} ${this.words[`deployment_${state}`]}`;
    } catch (error) {
      said.textContent = this.words.refused.replace("{detail}", error.message);
    }
    await this.show();
  }
}

function when(moment) {
  const made = element("time", "", new Date(moment).toLocaleString());
  made.dateTime = moment;
  return made;
}

function element(name, kind = "", content = []) {
  const made = document.createElement(name);
  made.className = kind;
  made.append(...(Array.isArray(content) ? content : [content]));
  return made;
}
