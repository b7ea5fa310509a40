"""Your own verb: `supervisorctl who 4711` names the program that this process is."""

from supervisor.supervisorctl import ControllerPluginBase


class Who(ControllerPluginBase):
    name = "who"

    def do_who(self, pid):
        rows = self.ctl.get_supervisor().getAllProcessInfo()
        names = [f"{row['group']}:{row['name']}" for row in rows if str(row["pid"]) == pid]
        self.ctl.output(names[0] if names else f"{pid} is no program of ours")
        self.ctl.exitstatus = 0 if names else 1


def make(controller, **config):
    return Who(controller)
