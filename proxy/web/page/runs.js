// What is tried: the last run of each request, which goes on while another view is looked at.

import { CallFailed, mcp } from "./mcp.js";

const MOST_LOGS = 200;

class Runs extends EventTarget {
  #runs = new Map(); // by method and name

  of(method, name) {
    return this.#runs.get(`${method} ${name}`) ?? null;
  }

  get underWay() {
    return [...this.#runs.values()].filter((run) => run.state === "running");
  }

  async start(method, name, params) {
    const run = { method, name, state: "running", began: performance.now(), seconds: 0, progress: null, logs: [], logged: 0, result: null, problem: null, cancel: () => {} };
    this.#runs.set(`${method} ${name}`, run);
    this.#changed(run);
    try {
      const { result, cancel } = await mcp.ask(method, params, (progress) => {
        run.progress = progress;
        this.#changed(run);
      });
      run.cancel = () => {
        cancel();
        this.#end(run, "cancelled");
      };
      run.result = await result;
      this.#end(run, run.result?.isError === true ? "tool_error" : "ok");
    } catch (problem) {
      run.problem = problem instanceof CallFailed ? problem : { message: problem.message };
      this.#end(run, "error");
    }
  }

  /** A server said something to the log while these ran. */
  log(params) {
    for (const run of this.underWay) {
      run.logs.push(params);
      run.logged += 1;
      if (run.logs.length > MOST_LOGS) run.logs.shift();
      this.#changed(run);
    }
  }

  #end(run, state) {
    if (run.state !== "running") return;
    run.state = state;
    run.seconds = (performance.now() - run.began) / 1000;
    this.#changed(run);
  }

  #changed(run) {
    this.dispatchEvent(new CustomEvent("run", { detail: run }));
  }
}

export const runs = new Runs();
mcp.addEventListener("log", (event) => runs.log(event.detail));
