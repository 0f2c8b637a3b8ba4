"""Submit work and follow it to its end. The daemon may stop, start or be killed meanwhile: nothing is done twice or missed."""

import sys

from irerctl.client import Client


def main(name: str) -> None:
    with Client() as irer:
        # A key of our own makes the request safe to repeat, even by another run: the second is answered from the log.
        done = irer.call(
            "resource.submit_task",
            {"task_id": name, "resource_type": "compute", "units": 2, "duration_s": 0.3},
            idem=f"app-{name}-submit",
        )
        print(f"{name}: accepted as record {done.receipt['seq']} of {done.receipt['log']}")
        # Ask first, then watch from where that answer stood: no event falls between the two.
        now = irer.call("resource.tasks", {"limit": 100})
        state = next(task["state"] for task in now.result["tasks"] if task["task_id"] == name)
        if state != "done":
            for item in irer.stream("system.watch", {"engine": "resource", "type": "task.done", "since": now.cursor}):
                if item["data"]["task_id"] == name:
                    break
        print(f"{name}: done")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "app-task")
