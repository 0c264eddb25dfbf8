-- wrk: posts lists of LIST events, each of a decision of its own whose id begins with PREFIX.
dofile(os.getenv("SHARED"))
local prefix, length, number = os.getenv("PREFIX"), tonumber(os.getenv("LIST")), 0

function request()
  local events = {}
  for index = 1, length do
    number = number + 1
    events[index] = string.format('{"decision_id":"%s-%d","metric":"reward","value":1}', prefix, number)
  end
  return wrk.format(nil, nil, nil, "[" .. table.concat(events, ",") .. "]")
end
