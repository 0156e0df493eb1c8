from __future__ import annotations
import asyncio, subprocess, sys, time
import grpc, psutil, pytest
from tests.integration.test_watch import *
HAMMER='''
import asyncio, sys, grpc
from gatekeeper_client.v1 import report_service_pb2 as pb
from gatekeeper_client.v1.report_service_pb2_grpc import ReportServiceStub
async def main():
    ch=grpc.aio.insecure_channel(sys.argv[1])
    st=ReportServiceStub(ch)
    ss=[st.WatchStatus(pb.WatchStatusRequest(organization="acme")) for _ in range(100)]
    await asyncio.gather(*(s.read() for s in ss))
    print("watching",flush=True)
    async def rd(s):
        while True: await s.read()
    await asyncio.gather(*(rd(s) for s in ss))
asyncio.run(main())
'''
def test_vanish(start_server, database_url, tmp_path):
    server = start_server(database_url=database_url)
    p = psutil.Process(server.process.pid)
    async def test():
        async with line_to(server.address) as line:
            await line.cap("acme", 1)
            stopping=False
            async def load():
                n=1
                while not stopping:
                    n+=1; await line.cap("acme", n)
            t=asyncio.create_task(load())
            for i in range(8):
                w=subprocess.Popen([sys.executable,"-c",HAMMER,server.address],stdout=subprocess.PIPE,text=True)
                await asyncio.to_thread(w.stdout.readline)
                c0=p.cpu_times(); t0=time.monotonic()
                await asyncio.sleep(2)
                c1=p.cpu_times()
                print("cpu", (c1.user+c1.system-c0.user-c0.system)/(time.monotonic()-t0), "rss", p.memory_info().rss/1e6, p.num_fds(), p.num_threads())
                w.kill(); w.wait(); w.stdout.close()
            stopping=True; await t
            await asyncio.sleep(2)
            print(psutil.Process(server.process.pid).num_fds())
    run(test())
    log=(tmp_path/"server-0.log").read_text()
    import re
    lines=[l for l in log.splitlines() if '"event":"call"' not in l and '"event": "call"' not in l and ' call ' not in l]
    print("\n".join(lines)[-6000:])
    calls=[l for l in log.splitlines() if 'WatchStatus' in l]; print(len(calls), "\n".join(calls[:3]))
