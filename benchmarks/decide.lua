-- wrk: posts the body in the file BODY.
dofile(os.getenv("SHARED"))
local file = io.open(os.getenv("BODY"), "rb")
wrk.body = file:read("*a")
file:close()
